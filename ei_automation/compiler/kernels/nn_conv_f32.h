/* CONV_2D, FULLY_CONNECTED (a 1x1 convolution of one pixel, or of each) and TRANSPOSE_CONV, float32.
 *
 * Four output channels at a time: the weights of four lie side by side, the last four filled up with zeros. Each sum
 * is added up in the order of the reference: rows, columns, input channels; then the bias. */
#ifndef NN_CONV_F32_H
#define NN_CONV_F32_H

#include "nn_float.h"

typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t width_out, channels_out;
    int32_t filter_h, filter_w, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left;
    const float *weights; /* fours of output channels, row, column, input channel, one of the four */
    const float *bias;    /* filled up to a multiple of four */
    float low, high;
} nn_conv_f32_t;

/* One pixel under one tap, for four output channels. */
NN_INLINE void nn_tap_f32(const float *from, const float *weights, int32_t channels, float *sums) {
    float s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (int32_t c = 0; c < channels; ++c, weights += 4) {
        const float value = from[c];
        s0 += value * weights[0];
        s1 += value * weights[1];
        s2 += value * weights[2];
        s3 += value * weights[3];
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

/* Bias and activation of the output channels from o on, four or what is left. */
NN_INLINE void nn_finish_f32(const nn_conv_f32_t *op, const float *sums, int32_t o, float *to) {
    for (int32_t i = 0; i < 4 && o + i < op->channels_out; ++i) {
        to[o + i] = nn_clamp_f32(sums[i] + op->bias[o + i], op->low, op->high);
    }
}

NN_KERNEL void nn_conv_f32(const nn_conv_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                           int32_t last) {
    const int32_t channels = op->channels, taps = op->filter_h * op->filter_w;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        float *to = nn_row_f32(&out, y, op->width_out * op->channels_out);
        for (int32_t x = 0; x < op->width_out; ++x, to += op->channels_out) {
            for (int32_t o = 0; o < op->channels_out; o += 4) {
                const float *weights = op->weights + o * taps * channels;
                float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                for (int32_t tap = 0; tap < taps; ++tap, weights += 4 * channels) {
                    const int32_t row = y * op->stride_h - op->pad_top + tap / op->filter_w * op->dilation_h;
                    const int32_t column = x * op->stride_w - op->pad_left + tap % op->filter_w * op->dilation_w;
                    if (row >= 0 && row < op->height && column >= 0 && column < op->width) {
                        const float *from = nn_row_f32(&in[0], row, op->width * channels);
                        nn_tap_f32(from + column * channels, weights, channels, sums);
                    }
                }
                nn_finish_f32(op, sums, o, to);
            }
        }
    }
}

/* Each output pixel gathers what the reference scatters. Taps from the last to the first are input pixels from the first
 * to the last, which is the order in which the reference adds. */
NN_KERNEL void nn_transpose_conv_f32(const nn_conv_f32_t *op, const nn_view *in, nn_view out, void *scratch,
                                     int32_t first, int32_t last) {
    const int32_t channels = op->channels, taps = op->filter_h * op->filter_w;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        float *to = nn_row_f32(&out, y, op->width_out * op->channels_out);
        for (int32_t x = 0; x < op->width_out; ++x, to += op->channels_out) {
            for (int32_t o = 0; o < op->channels_out; o += 4) {
                float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                for (int32_t tap = taps - 1; tap >= 0; --tap) {
                    const int32_t down = y + op->pad_top - tap / op->filter_w;
                    const int32_t along = x + op->pad_left - tap % op->filter_w;
                    const int32_t row = down / op->stride_h, column = along / op->stride_w;
                    if (down >= 0 && along >= 0 && row < op->height && column < op->width &&
                        down % op->stride_h == 0 && along % op->stride_w == 0) {
                        const float *from = nn_row_f32(&in[0], row, op->width * channels) + column * channels;
                        nn_tap_f32(from, op->weights + (o * taps + 4 * tap) * channels, channels, sums);
                    }
                }
                nn_finish_f32(op, sums, o, to);
            }
        }
    }
}

#endif
