/* FULLY_CONNECTED over a whole (flattened) map, int8: takes the map row by row, and keeps its sums in scratch. */
#ifndef NN_FULLY_CONNECTED_S8_H
#define NN_FULLY_CONNECTED_S8_H

#include "nn_requantize.h"

/* Weights: for each input row, each two outputs a, b and each four values of the row two words, from the lowest byte
 *     a0 b0 a2 b2, a1 b1 a3 b3
 * and zeros beyond the end of the row. All outputs go the long way: there are few. */
typedef struct {
    const uint32_t *weights;
    const int32_t *longs;      /* see nn_output */
    int32_t long_count;        /* outputs */
    int32_t row_bytes, height; /* of the input */
    int16_t step;              /* see nn_output */
    int8_t low, high;          /* the activation's bounds */
} nn_fully_connected_s8_t;

/* Adds the products of one row. */
NN_SHARED void nn_fully_connected_row(const nn_fully_connected_s8_t *op, const int8_t *row, int32_t y, uint32_t *sums) {
    const int32_t words = (op->row_bytes + 3) / 4;
    const uint32_t *weights = op->weights + y * words * ((op->long_count + 1) & ~1);
    const int8_t *const end = row + (op->row_bytes & ~3);
    for (uint32_t *const last = sums + op->long_count; sums < last; sums += 2) {
        const int8_t *value = row;
        uint32_t a = sums[0], b = sums[1];
        for (; value < end; value += 4, weights += 2) {
#if NN_DSP
            const uint32_t word = nn_load_word(value), even = nn_even_bytes(word), odd = nn_odd_bytes(word);
            a = (uint32_t)nn_mac2(even, nn_even_bytes(weights[0]), (int32_t)a);
            b = (uint32_t)nn_mac2(even, nn_odd_bytes(weights[0]), (int32_t)b);
            a = (uint32_t)nn_mac2(odd, nn_even_bytes(weights[1]), (int32_t)a);
            b = (uint32_t)nn_mac2(odd, nn_odd_bytes(weights[1]), (int32_t)b);
#else
            a += (uint32_t)(value[0] * (int8_t)weights[0] + value[2] * (int8_t)(weights[0] >> 16) +
                            value[1] * (int8_t)weights[1] + value[3] * (int8_t)(weights[1] >> 16));
            b += (uint32_t)(value[0] * (int8_t)(weights[0] >> 8) + value[2] * (int8_t)(weights[0] >> 24) +
                            value[1] * (int8_t)(weights[1] >> 8) + value[3] * (int8_t)(weights[1] >> 24));
#endif
        }
        for (int32_t k = 0; k < (op->row_bytes & 3); ++k) {
            const uint32_t word = weights[k & 1] >> (k & 2) * 8;
            a += (uint32_t)(value[k] * (int8_t)word);
            b += (uint32_t)(value[k] * (int8_t)(word >> 8));
        }
        weights += (op->row_bytes & 3) != 0 ? 2 : 0;
        sums[0] = a;
        sums[1] = b;
    }
}

/* first, last: input rows. The first call starts the sums, the one with the last row writes the output. */
NN_KERNEL void nn_fully_connected_s8(const nn_fully_connected_s8_t *op, const nn_view *in, nn_view out, void *scratch,
                                     int32_t first, int32_t last) {
    const nn_output output = {op->longs, op->long_count, op->step, 0, 0};
    uint32_t *const sums = (uint32_t *)scratch;
    if (first == 0) {
        memset(sums, 0, (size_t)((op->long_count + 1) & ~1) * 4);
    }
    for (int32_t y = first; y < last; ++y) {
        nn_fully_connected_row(op, nn_row(in, y, op->row_bytes), y, sums);
    }
    if (last < op->height) {
        return;
    }
    int8_t *const to = nn_row(&out, 0, op->long_count);
    for (int32_t channel = 0; channel < op->long_count; ++channel) {
        to[channel] = (int8_t)nn_finish_long(&output, channel, sums[channel]);
    }
    nn_clamp_s8(to, op->long_count, op->low, op->high);
}

#endif
