/* MEAN, int8. Takes its input's rows in order, a range a call; the sums wait in the scratch. */
#ifndef NN_MEAN_S8_H
#define NN_MEAN_S8_H

#include "nn_requantize.h"

typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t outputs;
    int32_t step_row, step_pixel, step_channel; /* from sum to sum; 0 along the axes over which the mean goes */
    int32_t start;                              /* of each sum: -zero point * values in it */
    int32_t multiplier, shift, offset; /* the division by the number of values is in the multiplier, as in TFLite */
} nn_mean_s8_t;

NN_KERNEL void nn_mean_s8(const nn_mean_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                          int32_t last) {
    int32_t *sums = (int32_t *)scratch;
    const int32_t channels = op->channels, step = op->step_channel;
    if (first == 0) {
        for (int32_t i = 0; i < op->outputs; ++i) {
            sums[i] = op->start;
        }
    }
    for (int32_t y = first; y < last; ++y) {
        const int8_t *from = nn_row(&in[0], y, op->width * channels);
        for (int32_t x = 0; x < op->width; ++x) {
            int32_t *sum = sums + y * op->step_row + x * op->step_pixel;
            for (int32_t c = 0; c < channels; ++c, sum += step) {
                *sum += *from++;
            }
        }
    }
    if (last == op->height) {
        int8_t *to = (int8_t *)out.data;
        for (int32_t i = 0; i < op->outputs; ++i) {
            int32_t value = nn_requantize(sums[i], op->multiplier, op->shift) + op->offset;
            value = value < INT8_MIN ? INT8_MIN : value;
            to[i] = (int8_t)(value > INT8_MAX ? INT8_MAX : value);
        }
    }
}

#endif
