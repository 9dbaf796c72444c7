/* The few instructions that kernels are made of, and the same in C where a core does not have them. */
#ifndef NN_DSP_H
#define NN_DSP_H

#include "nn_types.h"

/* Before a loop that is not worth its size unrolled. */
#if defined(__clang__)
#define NN_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define NN_ROLLED
#endif

/* The high word of a * b, plus c. */
NN_INLINE int32_t nn_high_multiply_add(int32_t a, int32_t b, int32_t c) {
#if NN_DSP
    int32_t result;
    __asm__("smmla %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
#else
    return (int32_t)(((int64_t)a * b) >> 32) + c;
#endif
}

/* value, cut to -128..127. */
NN_INLINE int32_t nn_saturate_s8(int32_t value) {
#if defined(__ARM_FEATURE_SAT) && !defined(NN_PORTABLE)
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value));
    return result;
#else
    value = value < -128 ? -128 : value;
    return value > 127 ? 127 : value;
#endif
}

/* Four bytes at any alignment: one load on cores that allow it. */
NN_INLINE uint32_t nn_load_word(const void *from) {
    uint32_t word;
#if defined(__GNUC__)
    __builtin_memcpy(&word, from, 4); /* not a call, even where the compiler takes memcpy for any function */
#else
    memcpy(&word, from, 4);
#endif
    return word;
}

NN_INLINE void nn_store_word(void *to, uint32_t word) {
#if defined(__GNUC__)
    __builtin_memcpy(to, &word, 4);
#else
    memcpy(to, &word, 4);
#endif
}

#if NN_DSP
/* Functions in assembly from end to end, for inner loops that no compiler fits into the registers. They keep to the
 * procedure call standard; the compiler is told what such a function may change. */
#define NN_NAKED __attribute__((naked, noinline, unused)) static
#define NN_UNUSED __attribute__((unused))
#define NN_NAKED_END : : : "r0", "r1", "r2", "r3", "r12", "lr", "cc", "memory"

/* a: two int16, b: two int16: sum + a.low * b.low + a.high * b.high. */
NN_INLINE int32_t nn_mac2(uint32_t a, uint32_t b, int32_t sum) {
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* The lower halves of two words in one: a's below, b's above. */
NN_INLINE uint32_t nn_lower_halves(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* The upper halves of two words in one: a's below, b's above. */
NN_INLINE uint32_t nn_upper_halves(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* Bytes 0 and 2 of a word as two int16. */
NN_INLINE uint32_t nn_even_bytes(uint32_t word) {
    uint32_t result;
    __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(word));
    return result;
}

/* Bytes 1 and 3 of a word as two int16. */
NN_INLINE uint32_t nn_odd_bytes(uint32_t word) {
    uint32_t result;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(word));
    return result;
}
#endif

#endif
