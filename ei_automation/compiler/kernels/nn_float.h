/* What the float32 kernels share.
 *
 * They add in the order of TFLite's reference kernels, one rounding for each product and one for each sum. A compiler
 * that made one instruction with one rounding of both (a fused multiply-add) would give other bytes, so it is told not
 * to; building with -ffp-contract=off as well does no harm. */
#ifndef NN_FLOAT_H
#define NN_FLOAT_H

#include "nn_types.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

NN_INLINE float *nn_row_f32(const nn_view *view, int32_t row, int32_t values) {
    return (float *)(void *)nn_row(view, row, values * 4);
}

NN_INLINE float nn_clamp_f32(float value, float low, float high) {
    value = value < low ? low : value;
    return high < value ? high : value;
}

#endif
