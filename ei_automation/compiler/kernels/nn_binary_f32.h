/* ADD, SUB and MUL, float32. */
#ifndef NN_BINARY_F32_H
#define NN_BINARY_F32_H

#include "nn_float.h"

/* The second input as in nn_add_s8.h; the steps count values. */
typedef struct {
    int32_t width;    /* pixels of a row; 1 where a row can be walked in one go */
    int32_t channels; /* values of a pixel */
    const float *constant;
    int32_t step_row, step_pixel, step_channel;
    float low, high;
} nn_binary_f32_t;

enum { NN_ADD, NN_SUB, NN_SUB_FROM, NN_MUL };

/* `kind` is known where this is called, so that each kernel has one operation in its loop. */
NN_INLINE void nn_binary_f32(const nn_binary_f32_t *op, const nn_view *in, const nn_view *out, int32_t first,
                             int32_t last, int kind) {
    for (int32_t y = first; y < last; ++y) {
        const float *a = nn_row_f32(&in[0], y, op->width * op->channels);
        float *to = nn_row_f32(out, y, op->width * op->channels);
        const float *start = op->constant != NULL ? op->constant + y * op->step_row
                             : op->step_row != 0  ? nn_row_f32(&in[1], y, op->step_row)
                                                  : (const float *)in[1].data;
        for (int32_t x = 0; x < op->width; ++x, start += op->step_pixel) {
            const float *b = start;
            for (int32_t c = 0; c < op->channels; ++c, b += op->step_channel, ++a) {
                const float value = kind == NN_ADD   ? *a + *b
                                    : kind == NN_SUB ? *a - *b
                                    : kind == NN_MUL ? *a * *b
                                                     : *b - *a;
                *to++ = nn_clamp_f32(value, op->low, op->high);
            }
        }
    }
}

NN_KERNEL void nn_add_f32(const nn_binary_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                          int32_t last) {
    (void)scratch;
    nn_binary_f32(op, in, &out, first, last, NN_ADD);
}

NN_KERNEL void nn_sub_f32(const nn_binary_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                          int32_t last) {
    (void)scratch;
    nn_binary_f32(op, in, &out, first, last, NN_SUB);
}

/* The second less the first. */
NN_KERNEL void nn_sub_from_f32(const nn_binary_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                               int32_t last) {
    (void)scratch;
    nn_binary_f32(op, in, &out, first, last, NN_SUB_FROM);
}

NN_KERNEL void nn_mul_f32(const nn_binary_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                          int32_t last) {
    (void)scratch;
    nn_binary_f32(op, in, &out, first, last, NN_MUL);
}

#endif
