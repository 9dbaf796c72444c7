/* MAX_POOL_2D and AVERAGE_POOL_2D, int8. Pixels outside the image do not count. */
#ifndef NN_POOL_S8_H
#define NN_POOL_S8_H

#include "nn_types.h"

typedef struct {
    int32_t height, width; /* of the input */
    int32_t channels;
    int32_t width_out;
    int32_t filter_h, filter_w, stride_h, stride_w;
    int32_t pad_top, pad_left;
    int32_t low, high; /* the fused activation */
} nn_pool_s8_t;

/* The part of a window that lies in the image: first and one past the last. */
NN_INLINE int32_t nn_pool_start(int32_t origin) {
    return origin < 0 ? 0 : origin;
}

NN_INLINE int32_t nn_pool_end(int32_t origin, int32_t filter, int32_t size) {
    return origin + filter > size ? size : origin + filter;
}

NN_KERNEL void nn_max_pool_s8(const nn_pool_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                              int32_t last) {
    const int32_t channels = op->channels;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int32_t top = y * op->stride_h - op->pad_top;
        const int32_t bottom = nn_pool_end(top, op->filter_h, op->height);
        int8_t *to = nn_row(&out, y, op->width_out * channels);
        for (int32_t x = 0; x < op->width_out; ++x, to += channels) {
            const int32_t left = x * op->stride_w - op->pad_left;
            const int32_t right = nn_pool_end(left, op->filter_w, op->width);
            memset(to, op->low, (size_t)channels);
            for (int32_t row = nn_pool_start(top); row < bottom; ++row) {
                const int8_t *from = nn_row(&in[0], row, op->width * channels) + nn_pool_start(left) * channels;
                for (int32_t column = nn_pool_start(left); column < right; ++column) {
                    for (int32_t c = 0; c < channels; ++c, ++from) {
                        if (*from > to[c]) {
                            to[c] = *from;
                        }
                    }
                }
            }
            if (op->high < INT8_MAX) {
                for (int32_t c = 0; c < channels; ++c) {
                    to[c] = (int8_t)(to[c] > op->high ? op->high : to[c]);
                }
            }
        }
    }
}

NN_KERNEL void nn_average_pool_s8(const nn_pool_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                                  int32_t last) {
    const int32_t channels = op->channels;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int32_t origin_y = y * op->stride_h - op->pad_top;
        const int32_t top = nn_pool_start(origin_y), bottom = nn_pool_end(origin_y, op->filter_h, op->height);
        int8_t *to = nn_row(&out, y, op->width_out * channels);
        for (int32_t x = 0; x < op->width_out; ++x) {
            const int32_t origin_x = x * op->stride_w - op->pad_left;
            const int32_t left = nn_pool_start(origin_x), right = nn_pool_end(origin_x, op->filter_w, op->width);
            const int32_t count = (bottom - top) * (right - left);
            for (int32_t c = 0; c < channels; ++c) {
                int32_t sum = 0;
                for (int32_t row = top; row < bottom; ++row) {
                    const int8_t *from = nn_row(&in[0], row, op->width * channels) + left * channels + c;
                    for (int32_t column = left; column < right; ++column, from += channels) {
                        sum += *from;
                    }
                }
                /* To the nearest, halves away from zero; C's division truncates. */
                sum = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
                sum = sum < op->low ? op->low : sum;
                *to++ = (int8_t)(sum > op->high ? op->high : sum);
            }
        }
    }
}

#endif
