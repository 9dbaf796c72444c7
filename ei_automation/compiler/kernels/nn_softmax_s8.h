/* SOFTMAX over the channels of each pixel, int8: the reference's fixed point arithmetic without floats.
 *
 * Qi.f below is a signed 32-bit number with i integer bits and f = 31 - i fraction bits; the high product of a Qi and a
 * Qj is a Q(i + j). */
#ifndef NN_SOFTMAX_S8_H
#define NN_SOFTMAX_S8_H

#include "nn_requantize.h"

typedef struct {
    int32_t pixels;   /* of a row */
    int32_t channels; /* values that one softmax runs over */
    int32_t multiplier, shift; /* difference to the largest value -> Q5.26, input scale and beta included */
    int32_t lowest;   /* differences below it count as nothing */
} nn_softmax_s8_t;

/* The product of two such numbers, rounded. */
NN_INLINE int32_t nn_product(int32_t a, int32_t b) {
    return nn_requantize(a, b, 0);
}

/* e^a for a <= 0 in Q5.26, as Q0.31: a polynomial around -1/8 for what is left over a multiple of a quarter, times
 * e^-(2^n) for each bit of that multiple. */
NN_KERNEL int32_t nn_exp_q5(int32_t a) {
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t third = 715827883, start = 1895147668; /* 1/3, e^(-1/8) */
    const int32_t quarter = 1 << 24;
    const int32_t rest = (a & (quarter - 1)) - quarter;
    const int32_t multiple = rest - a;
    const int32_t x = rest * 32 + (1 << 28);
    const int32_t x2 = nn_product(x, x);
    const int32_t x4 = nn_requantize(x2, x2, -2);                             /* x^4 / 4 */
    const int32_t sum = nn_product(x4 + nn_product(x2, x), third) + x2;       /* x^4 / 12 + x^3 / 3 + x^2, >= 0 */
    int32_t result = start + nn_product(start, x + ((sum + 1) >> 1));
    if (a == 0) {
        return INT32_MAX;
    }
    NN_ROLLED
    for (int32_t bit = 0; bit < 7; ++bit) {
        if (multiple & (1 << (24 + bit))) {
            result = nn_product(result, powers[bit]);
        }
    }
    return result;
}

/* Shift left, and stay at the largest value where that overflows. */
NN_INLINE int32_t nn_shift_saturating(int32_t x, int32_t bits) {
    const int32_t limit = (int32_t)((1u << (31 - bits)) - 1u);
    return x > limit ? INT32_MAX : x < -limit ? INT32_MIN : x * (1 << bits);
}

/* 1 / (1 + x) for x in [0, 1) as Q0.31: three Newton steps for the inverse of half the denominator, in Q2.29. */
NN_KERNEL int32_t nn_reciprocal(int32_t x) {
    const int32_t half = (int32_t)(((uint32_t)x + 0x80000000u) >> 1);
    int32_t guess = 1515870810 + nn_product(half, -1010580540); /* 48/17 - 32/17 half */
    NN_ROLLED
    for (int32_t step = 0; step < 3; ++step) {
        const int32_t error = (1 << 29) - nn_product(half, guess);
        guess += nn_shift_saturating(nn_product(guess, error), 2);
    }
    return nn_shift_saturating(guess, 1);
}

/* e^difference as Q0.31, 0 for what is too far below the largest value. */
NN_KERNEL int32_t nn_softmax_power(const nn_softmax_s8_t *op, int32_t difference) {
    return difference < op->lowest ? 0 : nn_exp_q5(nn_requantize(difference, op->multiplier, op->shift));
}

NN_KERNEL void nn_softmax_s8(const nn_softmax_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                             int32_t last) {
    const int32_t channels = op->channels, row_bytes = op->pixels * channels;
    (void)scratch;
    NN_ROLLED
    for (int32_t y = first; y < last; ++y) {
        const int8_t *from = nn_row(&in[0], y, row_bytes);
        int8_t *to = nn_row(&out, y, row_bytes);
        NN_ROLLED
        for (int32_t x = 0; x < op->pixels; ++x, from += channels, to += channels) {
            int32_t largest = from[0], right = 12 + 31 - 8, scale;
            uint32_t sum = 0; /* Q12.19; the compiler has refused channels enough to overflow it */
            NN_ROLLED
            for (int32_t c = 1; c < channels; ++c) {
                largest = from[c] > largest ? from[c] : largest;
            }
            NN_ROLLED
            for (int32_t c = 0; c < channels; ++c) {
                sum += ((uint32_t)nn_softmax_power(op, from[c] - largest) + (1u << 11)) >> 12;
            }
            NN_ROLLED
            for (; sum < 0x80000000u; sum <<= 1) {
                --right;
            }
            scale = nn_reciprocal((int32_t)(sum & 0x7fffffffu));
            NN_ROLLED
            for (int32_t c = 0; c < channels; ++c) {
                const int32_t power = nn_softmax_power(op, from[c] - largest);
                /* Beyond a shift of 31 all are less than half a step. */
                const int32_t value = (right > 31 ? 0 : nn_requantize(scale, power, -right)) + INT8_MIN;
                to[c] = (int8_t)(value > INT8_MAX ? INT8_MAX : value);
            }
        }
    }
}

#endif
