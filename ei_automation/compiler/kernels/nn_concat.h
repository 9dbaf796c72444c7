/* CONCATENATION of any type: it only copies. */
#ifndef NN_CONCAT_H
#define NN_CONCAT_H

#include "nn_types.h"

typedef struct {
    int32_t inputs;
    int32_t pieces;       /* of each input in a row: its pixels where channels are joined, 1 where pixels are */
    int32_t row_bytes;    /* of the output */
    const int32_t *bytes; /* of a piece of each input */
} nn_concat_t;

/* Along width or channels: each row of the output is made of one row of each input. */
NN_KERNEL void nn_concat(const nn_concat_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                         int32_t last) {
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        int8_t *start = nn_row(&out, y, op->row_bytes);
        for (int32_t i = 0; i < op->inputs; ++i) {
            const int32_t bytes = op->bytes[i];
            const int8_t *from = nn_row(&in[i], y, op->pieces * bytes);
            int8_t *to = start;
            for (int32_t piece = 0; piece < op->pieces; ++piece, from += bytes, to += op->row_bytes / op->pieces) {
                memcpy(to, from, (size_t)bytes);
            }
            start += bytes;
        }
    }
}

typedef struct {
    int32_t inputs;
    const int32_t *bytes; /* of each input */
} nn_concat_rows_t;

/* Along height: one input behind the other, whole tensors. */
NN_KERNEL void nn_concat_rows(const nn_concat_rows_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                              int32_t last) {
    int8_t *to = (int8_t *)out.data;
    (void)scratch;
    (void)first;
    (void)last;
    for (int32_t i = 0; i < op->inputs; ++i) {
        memcpy(to, in[i].data, (size_t)op->bytes[i]);
        to += op->bytes[i];
    }
}

#endif
