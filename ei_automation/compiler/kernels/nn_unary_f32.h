/* RELU, RELU6, HARD_SWISH and LOGISTIC, float32. */
#ifndef NN_UNARY_F32_H
#define NN_UNARY_F32_H

#include "nn_exp_f32.h"

typedef struct {
    int32_t values; /* of a row */
} nn_unary_f32_t;

enum { NN_RELU, NN_RELU6, NN_HARD_SWISH, NN_LOGISTIC };

/* Beyond 16.6 the reference says 1; below -9 it takes e^x, which the quotient has come down to. */
NN_INLINE float nn_logistic_f32_value(float x) {
    const float power = nn_exp_f32(x < -9.0f ? x : -x);
    return x > 16.619047164916992188f ? 1.0f : x < -9.0f ? power : 1.0f / (1.0f + power);
}

NN_INLINE float nn_unary_f32_value(float x, int kind) {
    const float positive = x < 0.0f ? 0.0f : x; /* -0 stays, as in the reference */
    const float raised = 0.0f < x + 3.0f ? x + 3.0f : 0.0f;
    switch (kind) {
    case NN_RELU:
        return positive;
    case NN_RELU6:
        return 6.0f < positive ? 6.0f : positive;
    case NN_HARD_SWISH:
        return x * (raised < 6.0f ? raised : 6.0f) / 6.0f;
    default:
        return nn_logistic_f32_value(x);
    }
}

/* `kind` is known where this is called. */
NN_INLINE void nn_unary_f32(const nn_unary_f32_t *op, const nn_view *in, const nn_view *out, int32_t first,
                            int32_t last, int kind) {
    for (int32_t y = first; y < last; ++y) {
        const float *from = nn_row_f32(&in[0], y, op->values);
        float *to = nn_row_f32(out, y, op->values);
        for (int32_t i = 0; i < op->values; ++i) {
            to[i] = nn_unary_f32_value(from[i], kind);
        }
    }
}

NN_KERNEL void nn_relu_f32(const nn_unary_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                           int32_t last) {
    (void)scratch;
    nn_unary_f32(op, in, &out, first, last, NN_RELU);
}

NN_KERNEL void nn_relu6_f32(const nn_unary_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                            int32_t last) {
    (void)scratch;
    nn_unary_f32(op, in, &out, first, last, NN_RELU6);
}

NN_KERNEL void nn_hard_swish_f32(const nn_unary_f32_t *op, const nn_view *in, nn_view out, void *scratch,
                                 int32_t first, int32_t last) {
    (void)scratch;
    nn_unary_f32(op, in, &out, first, last, NN_HARD_SWISH);
}

NN_KERNEL void nn_logistic_f32(const nn_unary_f32_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                               int32_t last) {
    (void)scratch;
    nn_unary_f32(op, in, &out, first, last, NN_LOGISTIC);
}

#endif
