/* RESHAPE that has to be made: both neighbours insist on their shape. Any type; the bytes stay in their order. */
#ifndef NN_RESHAPE_H
#define NN_RESHAPE_H

#include "nn_types.h"

typedef struct {
    int32_t bytes;
} nn_reshape_s8_t;

NN_KERNEL void nn_reshape_s8(const nn_reshape_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                             int32_t last) {
    (void)scratch;
    (void)first;
    (void)last;
    if (out.data != in[0].data) memmove(out.data, in[0].data, (size_t)op->bytes);
}

#endif
