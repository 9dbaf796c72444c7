/* What every kernel shares: how a tensor is seen, and the words that compilers disagree about.
 *
 * A kernel is a function
 *     void nn_NAME(const nn_NAME_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first, int32_t last);
 * that makes output rows first..last-1. `in` has one view for each computed input. C99; also compiles as C++. */
#ifndef NN_TYPES_H
#define NN_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define NN_KERNEL static __attribute__((noinline, unused))
#define NN_INLINE static inline __attribute__((always_inline, unused))
#else
#define NN_KERNEL static
#define NN_INLINE static inline
#endif

/* The DSP instructions of Cortex-M4, M7 and M33 (SMLAD, SXTB16, SMMLA), in Thumb-2, which is all that these cores have;
 * a Cortex-A in Arm state takes the plain C. */
#if defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1) && defined(__ARM_FEATURE_SIMD32) && \
    defined(__thumb2__) && !defined(NN_PORTABLE)
#define NN_DSP 1
#else
#define NN_DSP 0
#endif

/* A tensor, or the rows of it that are kept: row y lies at data + (y % ring) * row_bytes. A whole tensor has its own
 * height as ring, so that its rows lie one behind the other. */
typedef struct {
    void *data;
    int32_t ring;
} nn_view;

NN_INLINE int8_t *nn_row(const nn_view *view, int32_t row, int32_t row_bytes) {
    return (int8_t *)view->data + (row % view->ring) * row_bytes;
}

#endif
