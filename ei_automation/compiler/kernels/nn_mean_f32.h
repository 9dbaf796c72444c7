/* MEAN, float32. Takes its input's rows in order, a range a call; the sums wait in the scratch. */
#ifndef NN_MEAN_F32_H
#define NN_MEAN_F32_H

#include "nn_float.h"

typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t outputs;
    int32_t step_row, step_pixel, step_channel; /* from sum to sum; 0 along the axes over which the mean goes */
    float count;                                /* values in a mean */
} nn_mean_f32_t;

NN_KERNEL void nn_mean_f32(const nn_mean_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                           int32_t last) {
    float *sums = (float *)scratch;
    const int32_t channels = op->channels, step = op->step_channel;
    if (first == 0) {
        for (int32_t i = 0; i < op->outputs; ++i) {
            sums[i] = 0.0f;
        }
    }
    for (int32_t y = first; y < last; ++y) {
        const float *from = nn_row_f32(&in[0], y, op->width * channels);
        for (int32_t x = 0; x < op->width; ++x) {
            float *sum = sums + y * op->step_row + x * op->step_pixel;
            for (int32_t c = 0; c < channels; ++c, sum += step) {
                *sum += *from++;
            }
        }
    }
    if (last == op->height) {
        float *to = (float *)out.data;
        for (int32_t i = 0; i < op->outputs; ++i) {
            to[i] = sums[i] / op->count;
        }
    }
}

#endif
