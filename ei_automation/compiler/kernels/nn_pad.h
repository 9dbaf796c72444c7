/* PAD: a border of one value around rows, pixels or channels. */
#ifndef NN_PAD_H
#define NN_PAD_H

#include "nn_types.h"

typedef struct {
    int32_t height; /* of the input */
    int32_t top;
    int32_t pixels;             /* pixels that are copied; 1 where the channels get no border: a row goes in one piece */
    int32_t left, right;        /* values before and after the pixels of a row */
    int32_t before, size, after; /* values before, in and after each pixel */
    int32_t value;
} nn_pad_s8_t;

NN_KERNEL void nn_pad_s8(const nn_pad_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                         int32_t last) {
    const int32_t row_bytes = op->left + op->right + op->pixels * (op->before + op->size + op->after);
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        int8_t *to = nn_row(&out, y, row_bytes);
        memset(to, op->value, (size_t)row_bytes);
        if (y >= op->top && y < op->top + op->height) {
            const int8_t *from = nn_row(&in[0], y - op->top, op->pixels * op->size);
            to += op->left + op->before;
            for (int32_t x = 0; x < op->pixels; ++x, from += op->size, to += op->before + op->size + op->after) {
                memcpy(to, from, (size_t)op->size);
            }
        }
    }
}

typedef struct {
    int32_t height; /* of the input */
    int32_t top;
    int32_t pixels;              /* as above; sizes count values */
    int32_t left, right;
    int32_t before, size, after;
    float value;
} nn_pad_f32_t;

NN_KERNEL void nn_pad_f32(const nn_pad_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                          int32_t last) {
    const int32_t values = op->left + op->right + op->pixels * (op->before + op->size + op->after);
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        float *to = (float *)(void *)nn_row(&out, y, values * 4);
        for (int32_t i = 0; i < values; ++i) {
            to[i] = op->value;
        }
        if (y >= op->top && y < op->top + op->height) {
            const int8_t *from = nn_row(&in[0], y - op->top, op->pixels * op->size * 4);
            to += op->left + op->before;
            for (int32_t x = 0; x < op->pixels; ++x, from += op->size * 4, to += op->before + op->size + op->after) {
                memcpy(to, from, (size_t)op->size * 4);
            }
        }
    }
}

#endif
