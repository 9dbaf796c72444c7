/* What ADD, SUB and MUL share: the short way of requantization, and the second operand. */
#ifndef NN_SHORT_S8_H
#define NN_SHORT_S8_H

#include "nn_dsp.h"

/* The reference's two roundings in one: with x = twice the number that it rounds to the high word of the doubled
 * product and then divides by 2^shift, floor((high word + half) / 2^shift), where halves of negative numbers go away
 * from zero, so 1 less for these. `half` is 2^(shift - 1), and may have a zero point in it, shifted. The compiler has
 * checked that shift is 1 or more and that nothing overflows. */
NN_INLINE int32_t nn_short(int32_t x, int32_t multiplier, int32_t half, int32_t shift) {
#if NN_DSP
    int32_t high;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(high) : "r"(x), "r"(multiplier), "r"(half));
#else
    const int32_t high = (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << 31)) >> 32) + half;
#endif
    return (high + (x >> 31)) >> shift;
}

/* Where the second operand's row y starts: a constant, or a view of as many rows (step_row is their length) or of one. */
NN_INLINE const int8_t *nn_operand_s8(const int8_t *constant, const nn_view *view, int32_t y, int32_t step_row) {
    if (constant != NULL) {
        return constant + y * step_row;
    }
    return step_row != 0 ? nn_row(view, y, step_row) : (const int8_t *)view->data;
}

#endif
