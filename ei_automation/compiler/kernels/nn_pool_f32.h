/* MAX_POOL_2D and AVERAGE_POOL_2D, float32. Pixels outside the image do not count. */
#ifndef NN_POOL_F32_H
#define NN_POOL_F32_H

#include "nn_float.h"

typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t width_out;
    int32_t filter_h, filter_w, stride_h, stride_w;
    int32_t pad_top, pad_left;
    float low, high; /* the fused activation */
} nn_pool_f32_t;

/* `average` is known where this is called. */
NN_INLINE void nn_pool_f32(const nn_pool_f32_t *op, const nn_view *in, const nn_view *out, int32_t first, int32_t last,
                           int average) {
    const int32_t channels = op->channels;
    for (int32_t y = first; y < last; ++y) {
        const int32_t origin_y = y * op->stride_h - op->pad_top;
        const int32_t top = origin_y < 0 ? 0 : origin_y;
        const int32_t bottom = origin_y + op->filter_h > op->height ? op->height : origin_y + op->filter_h;
        float *to = nn_row_f32(out, y, op->width_out * channels);
        for (int32_t x = 0; x < op->width_out; ++x, to += channels) {
            const int32_t origin_x = x * op->stride_w - op->pad_left;
            const int32_t left = origin_x < 0 ? 0 : origin_x;
            const int32_t right = origin_x + op->filter_w > op->width ? op->width : origin_x + op->filter_w;
            const float count = (float)((bottom - top) * (right - left));
            for (int32_t c = 0; c < channels; ++c) {
                to[c] = average ? 0.0f : -3.402823466e+38f;
            }
            for (int32_t row = top; row < bottom; ++row) {
                const float *from = nn_row_f32(&in[0], row, op->width * channels) + left * channels;
                for (int32_t column = left; column < right; ++column) {
                    for (int32_t c = 0; c < channels; ++c, ++from) {
                        to[c] = average ? to[c] + *from : to[c] < *from ? *from : to[c];
                    }
                }
            }
            for (int32_t c = 0; c < channels; ++c) {
                to[c] = nn_clamp_f32(average ? to[c] / count : to[c], op->low, op->high);
            }
        }
    }
}

NN_KERNEL void nn_max_pool_f32(const nn_pool_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                               int32_t last) {
    (void)scratch;
    nn_pool_f32(op, in, &out, first, last, 0);
}

NN_KERNEL void nn_average_pool_f32(const nn_pool_f32_t *op, const nn_view *in, nn_view out, void *scratch,
                                   int32_t first, int32_t last) {
    (void)scratch;
    nn_pool_f32(op, in, &out, first, last, 1);
}

#endif
