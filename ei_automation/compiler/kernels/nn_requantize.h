/* From a 32-bit sum back to int8, exactly as TFLite's reference kernels.
 *
 * nn_requantize is the reference's own arithmetic, for every operator. nn_finish is what convolutions use: most of
 * their channels go a short way, which the compiler has proved to give the same bytes for every possible input. */
#ifndef NN_REQUANTIZE_H
#define NN_REQUANTIZE_H

#include "nn_dsp.h"
#include "nn_types.h"

/* x * multiplier * 2^(shift - 31): the high word of the doubled product, halves rounded up
 * (SaturatingRoundingDoublingHighMul; it would saturate only for a multiplier of -2^31), then for a negative shift a
 * division by a power of two, halves rounded away from zero (RoundingDivideByPOT). Left shifts wrap, as there.
 * x: any. multiplier: above -2^31. shift: -31..31. */
NN_INLINE int32_t nn_requantize(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    const int64_t product = (int64_t)(int32_t)((uint32_t)x << left) * multiplier;
    const int32_t high = (int32_t)((product + (1 << 30)) >> 31);
    const int32_t mask = (int32_t)((1u << right) - 1u);
    const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
    return (high >> right) + ((high & mask) > threshold ? 1 : 0);
}

/* A function that several kernels may call, and that is there once. */
#if defined(__GNUC__)
#define NN_SHARED static __attribute__((noinline, unused))
#else
#define NN_SHARED static
#endif

/* How a convolution's sums become its output.
 *
 * Sums are scaled by 2^8: one instruction takes an int8 to the upper byte of an int16, and the room below the point
 * then takes up the roundings. Each channel has a start (its bias, scaled, the input's zero point folded in; in its
 * lowest byte, which is not part of the sum, the shift) and a multiplier. A channel of the long way has the shift
 * NN_LONG, above it its place in `longs`, and there five words: channel, bias (not scaled), multiplier, lower word or
 * -1, shift. */
typedef struct {
    const int32_t *longs;
    int32_t long_count;
    int32_t step;  /* 2 * output zero point + 1 */
    int32_t scale; /* 8; 0 where sums are too large and all channels go the long way */
    int32_t away;  /* 128; 0 where the activation cuts off all that is below the zero point */
} nn_output;

#define NN_LONG 255
#define NN_LONG_WORDS 5

/* The long way, for any sum (the start is not part of it). Of a convolution it is the reference's arithmetic.
 *
 * The reference of FULLY_CONNECTED multiplies in double precision and rounds once, halves away from zero; its channels
 * have a lower word. Here: 62 bits of the factor, a trace larger than it, and halves up; the compiler has checked that
 * all bytes come out the same. The shift is then to the right, 1..52, beyond the lower word. */
NN_SHARED int32_t nn_finish_long(const nn_output *output, int32_t place, uint32_t sum) {
    const int32_t *const way = output->longs + place * NN_LONG_WORDS;
    const int32_t x = (int32_t)((uint32_t)((int32_t)sum >> output->scale) + (uint32_t)way[1]);
    const int32_t multiplier = way[2], lower = way[3], shift = way[4];
    if (lower < 0) {
        const int32_t value = nn_requantize(x, multiplier, shift);
        return nn_saturate_s8((int32_t)((uint32_t)value + (uint32_t)(output->step >> 1)));
    }
    const int64_t product = (int64_t)x * multiplier + (((int64_t)x * lower) >> 31);
    const int64_t value = (product + output->step * ((int64_t)1 << (shift - 1))) >> shift;
    return (int32_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}

/* A channel, taken apart: what all of its values have in common. */
typedef struct {
    uint32_t start; /* as it is stored */
    int32_t multiplier;
    int32_t shift;
    int32_t rounding; /* what the short way adds to the high word: both halves to round with, and the zero point */
} nn_channel;

NN_INLINE nn_channel nn_channel_of(const nn_output *output, uint32_t start, int32_t multiplier) {
    const int32_t shift = (int32_t)(start & 255);
    const nn_channel channel = {start, multiplier, shift, (int32_t)(64u + ((uint32_t)output->step << (shift & 31)))};
    return channel;
}

/* One output value from its sum (without the start).
 *
 * The short way is for channels whose sums stay below 2^23 and whose right shift is 1..16 (the compiler proves it).
 * With sum = 256 * x the reference's two roundings are two floors, and a floor of a floor is one floor:
 *     high word of (sum * multiplier) + rounding, shifted right by shift + 1.
 * What is left is that negative halves go away from zero: 128 less where the sum is negative, if it can show. */
#if NN_DSP
NN_SHARED /* most values are made elsewhere, in assembly */
#else
NN_INLINE
#endif
int8_t nn_finish(const nn_output *output, const nn_channel *channel, uint32_t sum) {
    if (channel->shift == NN_LONG) {
        return (int8_t)nn_finish_long(output, (int32_t)(channel->start >> 8), sum);
    }
    const int32_t all = (int32_t)(sum + (channel->start & ~255u));
    const int32_t high =
        nn_high_multiply_add(all, channel->multiplier, channel->rounding) - ((all >> 31) & output->away);
    return (int8_t)nn_saturate_s8(high >> channel->shift >> 1);
}

/* Cuts count values to low..high, for activations that end inside of -128..127. */
NN_SHARED void nn_clamp_s8(int8_t *values, int32_t count, int32_t low, int32_t high) {
    if (low <= -128 && high >= 127) {
        return;
    }
    NN_ROLLED
    for (int8_t *const end = values + count; values < end; ++values) {
        const int32_t value = *values < low ? low : *values;
        *values = (int8_t)(value > high ? high : value);
    }
}

#endif
