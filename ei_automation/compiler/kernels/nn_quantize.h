/* QUANTIZE of floats and DEQUANTIZE. (QUANTIZE from 8 bits to 8 bits is a table, nn_table_s8.h.) */
#ifndef NN_QUANTIZE_H
#define NN_QUANTIZE_H

#include "nn_types.h"

typedef struct {
    int32_t values; /* of a row */
    float scale;
    int32_t offset, low, high; /* zero point; -128..127 or 0..255 */
} nn_quantize_s8_t;

/* value / scale to the nearest integer, halves away from zero, as C's roundf but without libm. What is no number becomes
 * `low`; the reference leaves that, and values beyond 2^31 steps, to the processor. */
NN_KERNEL void nn_quantize_s8(const nn_quantize_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                              int32_t last) {
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const float *from = (const float *)(void *)nn_row(&in[0], y, op->values * 4);
        uint8_t *to = (uint8_t *)nn_row(&out, y, op->values);
        for (int32_t i = 0; i < op->values; ++i) {
            float steps = from[i] / op->scale;
            int32_t value;
            steps = steps > -1024.0f ? steps : -1024.0f; /* also catches what is no number */
            steps = steps < 1024.0f ? steps : 1024.0f;
            value = (int32_t)steps;
            steps -= (float)value; /* exact */
            value += (steps >= 0.5f) - (steps <= -0.5f) + op->offset;
            value = value < op->low ? op->low : value;
            to[i] = (uint8_t)(value > op->high ? op->high : value);
        }
    }
}

typedef struct {
    int32_t values; /* of a row */
    float scale;
    int32_t offset;
    int32_t flip; /* 128 for uint8: makes a signed byte of it, 128 lower */
} nn_dequantize_f32_t;

NN_KERNEL void nn_dequantize_f32(const nn_dequantize_f32_t *op, const nn_view *in, nn_view out, void *scratch,
                                 int32_t first, int32_t last) {
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const uint8_t *from = (const uint8_t *)nn_row(&in[0], y, op->values);
        float *to = (float *)(void *)nn_row(&out, y, op->values * 4);
        for (int32_t i = 0; i < op->values; ++i) {
            to[i] = op->scale * (float)((int8_t)(from[i] ^ op->flip) + op->offset);
        }
    }
}

#endif
