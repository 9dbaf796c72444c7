/* DEPTHWISE_CONV_2D, float32. The sums of a pixel grow in the output itself. */
#ifndef NN_DEPTHWISE_F32_H
#define NN_DEPTHWISE_F32_H

#include "nn_float.h"

typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t width_out;
    int32_t multiplier; /* outputs for each input channel */
    int32_t filter_h, filter_w, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left;
    const float *weights; /* row, column, output channel */
    const float *bias;
    float low, high;
} nn_depthwise_f32_t;

NN_KERNEL void nn_depthwise_f32(const nn_depthwise_f32_t *op, const nn_view *in, nn_view out, void *scratch,
                                int32_t first, int32_t last) {
    const int32_t channels = op->channels, outputs = channels * op->multiplier;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        float *to = nn_row_f32(&out, y, op->width_out * outputs);
        for (int32_t x = 0; x < op->width_out; ++x, to += outputs) {
            for (int32_t o = 0; o < outputs; ++o) {
                to[o] = 0.0f;
            }
            for (int32_t ky = 0; ky < op->filter_h; ++ky) {
                const int32_t row = y * op->stride_h - op->pad_top + ky * op->dilation_h;
                if (row < 0 || row >= op->height) {
                    continue;
                }
                for (int32_t kx = 0; kx < op->filter_w; ++kx) {
                    const int32_t column = x * op->stride_w - op->pad_left + kx * op->dilation_w;
                    const float *from, *weights;
                    if (column < 0 || column >= op->width) {
                        continue;
                    }
                    from = nn_row_f32(&in[0], row, op->width * channels) + column * channels;
                    weights = op->weights + (ky * op->filter_w + kx) * outputs;
                    if (op->multiplier == 1) {
                        for (int32_t c = 0; c < channels; ++c) {
                            to[c] += from[c] * weights[c];
                        }
                    } else {
                        for (int32_t o = 0; o < outputs; ++o) {
                            to[o] += from[o / op->multiplier] * weights[o];
                        }
                    }
                }
            }
            for (int32_t o = 0; o < outputs; ++o) {
                to[o] = nn_clamp_f32(to[o] + op->bias[o], op->low, op->high);
            }
        }
    }
}

#endif
