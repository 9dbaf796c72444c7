/* SOFTMAX over the channels of each pixel, float32. */
#ifndef NN_SOFTMAX_F32_H
#define NN_SOFTMAX_F32_H

#include "nn_exp_f32.h"

typedef struct {
    int32_t pixels;   /* of a row */
    int32_t channels; /* values that one softmax runs over */
    float beta;
} nn_softmax_f32_t;

NN_KERNEL void nn_softmax_f32(const nn_softmax_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                              int32_t last) {
    const int32_t channels = op->channels;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const float *from = nn_row_f32(&in[0], y, op->pixels * channels);
        float *to = nn_row_f32(&out, y, op->pixels * channels);
        for (int32_t x = 0; x < op->pixels; ++x, from += channels, to += channels) {
            float largest = from[0], sum = 0.0f;
            for (int32_t c = 1; c < channels; ++c) {
                largest = largest < from[c] ? from[c] : largest;
            }
            for (int32_t c = 0; c < channels; ++c) {
                to[c] = nn_exp_f32((from[c] - largest) * op->beta);
                sum += to[c];
            }
            for (int32_t c = 0; c < channels; ++c) {
                to[c] = to[c] / sum;
            }
        }
    }
}

#endif
