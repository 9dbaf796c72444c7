/* MUL, int8: the product of two values less their zero points, requantized. */
#ifndef NN_MUL_S8_H
#define NN_MUL_S8_H

#include "nn_requantize.h"
#include "nn_short_s8.h"

/* The second input as in nn_add_s8.h. */
typedef struct {
    int32_t width;    /* pixels of a row; 1 where a row can be walked in one go */
    int32_t channels; /* values of a pixel */
    const int8_t *constant;
    int32_t step_row, step_pixel, step_channel;
    int32_t offset_a, offset_b;
    int32_t multiplier, shift, offset, low, high;
} nn_mul_s8_t;

/* `exact` is known where this is called: the reference's arithmetic, or the short way where the compiler has found that
 * it gives the same. */
NN_INLINE void nn_multiply_s8(const nn_mul_s8_t *op, const nn_view *in, const nn_view *out, int32_t first, int32_t last,
                              int exact) {
    const nn_mul_s8_t of = *op; /* a copy: bytes that are written might lie in *op, for all that the compiler knows */
    const int32_t values = of.width * of.channels, right = exact ? 1 : -of.shift;
    const int32_t half = (1 << (right - 1)) + of.offset * (1 << right);
    for (int32_t y = first; y < last; ++y) {
        const int8_t *a = nn_row(&in[0], y, values);
        const int8_t *start = nn_operand_s8(of.constant, &in[1], y, of.step_row);
        int8_t *to = nn_row(out, y, values);
        for (int32_t x = 0; x < of.width; ++x, start += of.step_pixel) {
            const int8_t *b = start;
            int8_t *const end = to + of.channels;
            for (; to < end; b += of.step_channel) {
                const int32_t product = (*a++ + of.offset_a) * 2 * (*b + of.offset_b);
                int32_t value;
                if (exact) {
                    value = nn_requantize(product >> 1, of.multiplier, of.shift) + of.offset;
                } else {
                    value = nn_short(product, of.multiplier, half, right);
                }
                *to++ = (int8_t)nn_saturate_s8(value);
            }
        }
        nn_clamp_s8(to - values, values, of.low, of.high);
    }
}

NN_KERNEL void nn_mul_s8(const nn_mul_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                         int32_t last) {
    (void)scratch;
    nn_multiply_s8(op, in, &out, first, last, 0);
}

NN_KERNEL void nn_mul_exact_s8(const nn_mul_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                               int32_t last) {
    (void)scratch;
    nn_multiply_s8(op, in, &out, first, last, 1);
}

#endif
