/* TRANSPOSE_CONV, int8. Each output pixel gathers what the reference scatters; sums of integers do not mind. */
#ifndef NN_TRANSPOSE_CONV_S8_H
#define NN_TRANSPOSE_CONV_S8_H

#include "nn_requantize.h"

typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t width_out, channels_out;
    int32_t filter_h, filter_w, stride_h, stride_w;
    int32_t pad_top, pad_left;
    const int8_t *weights; /* output channel, row, column, input channel */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int32_t offset_in, offset, low, high;
} nn_transpose_conv_s8_t;

NN_KERNEL void nn_transpose_conv_s8(const nn_transpose_conv_s8_t *op, const nn_view *in, nn_view out, void *scratch,
                                    int32_t first, int32_t last) {
    const int32_t channels = op->channels;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        int8_t *to = nn_row(&out, y, op->width_out * op->channels_out);
        for (int32_t x = 0; x < op->width_out; ++x) {
            const int8_t *weights = op->weights;
            for (int32_t o = 0; o < op->channels_out; ++o, weights += op->filter_h * op->filter_w * channels) {
                uint32_t sum = (uint32_t)op->bias[o]; /* wraps, as the reference's */
                /* Only every stride-th tap meets an input pixel. */
                for (int32_t ky = (y + op->pad_top) % op->stride_h; ky < op->filter_h; ky += op->stride_h) {
                    const int32_t row = (y + op->pad_top - ky) / op->stride_h;
                    if (y + op->pad_top < ky || row >= op->height) {
                        continue;
                    }
                    for (int32_t kx = (x + op->pad_left) % op->stride_w; kx < op->filter_w; kx += op->stride_w) {
                        const int32_t column = (x + op->pad_left - kx) / op->stride_w;
                        const int8_t *from, *weight;
                        if (x + op->pad_left < kx || column >= op->width) {
                            continue;
                        }
                        from = nn_row(&in[0], row, op->width * channels) + column * channels;
                        weight = weights + (ky * op->filter_w + kx) * channels;
                        for (int32_t c = 0; c < channels; ++c) {
                            sum += (uint32_t)((from[c] + op->offset_in) * weight[c]);
                        }
                    }
                }
                {
                    int32_t value = nn_requantize((int32_t)sum, op->multiplier[o], op->shift[o]) + op->offset;
                    value = value < op->low ? op->low : value;
                    *to++ = (int8_t)(value > op->high ? op->high : value);
                }
            }
        }
    }
}

#endif
