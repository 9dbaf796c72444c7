/* RESIZE_NEAREST_NEIGHBOR of any type and RESIZE_BILINEAR. Which pixels are read is worked out by the compiler. */
#ifndef NN_RESIZE_H
#define NN_RESIZE_H

#include "nn_float.h"

typedef struct {
    int32_t width, pixel_bytes; /* of the input */
    int32_t width_out;
    const int16_t *rows, *columns; /* input row of each output row, input pixel of each output pixel */
} nn_resize_nearest_t;

NN_KERNEL void nn_resize_nearest(const nn_resize_nearest_t *op, const nn_view *in, nn_view out, void *scratch,
                                 int32_t first, int32_t last) {
    const int32_t bytes = op->pixel_bytes;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int8_t *from = nn_row(&in[0], op->rows[y], op->width * bytes);
        int8_t *to = nn_row(&out, y, op->width_out * bytes);
        for (int32_t x = 0; x < op->width_out; ++x, to += bytes) {
            memcpy(to, from + op->columns[x] * bytes, (size_t)bytes);
        }
    }
}

typedef struct {
    int32_t width, channels; /* of the input */
    int32_t width_out;
    const int16_t *rows, *columns; /* three of each output row or pixel: lower, upper, 1024ths on the way up */
} nn_resize_bilinear_s8_t;

/* Weights may lie a little outside of 0..1 at the edge, where lower and upper are the same pixel. */
NN_KERNEL void nn_resize_bilinear_s8(const nn_resize_bilinear_s8_t *op, const nn_view *in, nn_view out, void *scratch,
                                     int32_t first, int32_t last) {
    const int32_t channels = op->channels;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int16_t *row = op->rows + 3 * y;
        const int8_t *upper = nn_row(&in[0], row[0], op->width * channels);
        const int8_t *lower = nn_row(&in[0], row[1], op->width * channels);
        int8_t *to = nn_row(&out, y, op->width_out * channels);
        for (int32_t x = 0; x < op->width_out; ++x) {
            const int16_t *column = op->columns + 3 * x;
            const int32_t left = column[0] * channels, right = column[1] * channels;
            const int32_t weights[4] = {(1024 - row[2]) * (1024 - column[2]), row[2] * (1024 - column[2]),
                                        (1024 - row[2]) * column[2], row[2] * column[2]};
            for (int32_t c = 0; c < channels; ++c) {
                const int32_t sum = upper[left + c] * weights[0] + lower[left + c] * weights[1] +
                                    upper[right + c] * weights[2] + lower[right + c] * weights[3];
                *to++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
            }
        }
    }
}

typedef struct {
    int32_t width, channels; /* of the input */
    int32_t width_out;
    const int16_t *rows, *columns; /* two of each output row or pixel: lower, upper */
    const float *row_shares, *column_shares; /* how far on the way up */
} nn_resize_bilinear_f32_t;

NN_KERNEL void nn_resize_bilinear_f32(const nn_resize_bilinear_f32_t *op, const nn_view *in, nn_view out,
                                      void *scratch, int32_t first, int32_t last) {
    const int32_t channels = op->channels;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const float *upper = nn_row_f32(&in[0], op->rows[2 * y], op->width * channels);
        const float *lower = nn_row_f32(&in[0], op->rows[2 * y + 1], op->width * channels);
        const float down = op->row_shares[y];
        float *to = nn_row_f32(&out, y, op->width_out * channels);
        for (int32_t x = 0; x < op->width_out; ++x) {
            const int32_t left = op->columns[2 * x] * channels, right = op->columns[2 * x + 1] * channels;
            const float along = op->column_shares[x];
            for (int32_t c = 0; c < channels; ++c) {
                float sum = upper[left + c] * (1.0f - down) * (1.0f - along);
                sum += lower[left + c] * down * (1.0f - along);
                sum += upper[right + c] * (1.0f - down) * along;
                sum += lower[right + c] * down * along;
                *to++ = sum + 0.0f; /* as the reference; makes 0 of -0 */
            }
        }
    }
}

#endif
