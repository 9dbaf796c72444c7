/* ADD and SUB, int8. The reference brings both inputs to a common scale (shifted left by 20 bits), adds, and
 * requantizes; each of the three steps rounds twice. */
#ifndef NN_ADD_S8_H
#define NN_ADD_S8_H

#include "nn_requantize.h"
#include "nn_short_s8.h"

/* The second input is `constant` (in flash), or in[1] where that is a null pointer. The steps say how far to go in it
 * from one row, one pixel, one channel to the next: 0 where the same value is used again (broadcast). */
typedef struct {
    int32_t width;    /* pixels of a row; 1 where a row can be walked in one go */
    int32_t channels; /* values of a pixel */
    const int8_t *constant;
    int32_t step_row, step_pixel, step_channel;
    int32_t offset_a, multiplier_a, shift_a, sign_a; /* sign: -1 for what SUB takes away */
    int32_t offset_b, multiplier_b, shift_b, sign_b;
    int32_t multiplier, shift, offset, low, high;
} nn_add_s8_t;

/* The reference's arithmetic, for what the short ways below do not take. */
NN_KERNEL void nn_add_s8(const nn_add_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                         int32_t last) {
    const nn_add_s8_t of = *op; /* a copy: bytes that are written might lie in *op, for all that the compiler knows */
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int8_t *a = nn_row(&in[0], y, of.width * of.channels);
        const int8_t *start = nn_operand_s8(of.constant, &in[1], y, of.step_row);
        int8_t *to = nn_row(&out, y, of.width * of.channels);
        for (int32_t x = 0; x < of.width; ++x, start += of.step_pixel) {
            const int8_t *b = start;
            for (int32_t c = 0; c < of.channels; ++c, b += of.step_channel) {
                /* At most 255 << 20: no overflow. */
                const int32_t scaled_a = nn_requantize((*a++ + of.offset_a) * (1 << 20), of.multiplier_a, of.shift_a);
                const int32_t scaled_b = nn_requantize((*b + of.offset_b) * (1 << 20), of.multiplier_b, of.shift_b);
                const int32_t sum = scaled_a * of.sign_a + scaled_b * of.sign_b;
                int32_t value = nn_requantize(sum, of.multiplier, of.shift) + of.offset;
                value = value < of.low ? of.low : value;
                *to++ = (int8_t)(value > of.high ? of.high : value);
            }
        }
    }
}

/* ADD of two computed inputs of one shape, the short way: in[0] is the one with the larger scale. Its factor is one
 * half, which needs no rounding. */
typedef struct {
    int32_t values;  /* of a row */
    int32_t start_a; /* -zero point, shifted by 20 */
    int32_t start_b, step_b, multiplier_b, half_b, shift_b; /* b * step_b + start_b: without zero point, shifted by 21 */
    int32_t multiplier, half, shift; /* the output's zero point is in half */
    int32_t low, high;
} nn_add_same_s8_t;

NN_KERNEL void nn_add_same_s8(const nn_add_same_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                              int32_t last) {
    const nn_add_same_s8_t of = *op;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int8_t *a = nn_row(&in[0], y, of.values);
        const int8_t *b = nn_row(&in[1], y, of.values);
        int8_t *to = nn_row(&out, y, of.values), *const end = to + of.values;
        while (to < end) {
            const int32_t b_scaled = nn_short(*b++ * of.step_b + of.start_b, of.multiplier_b, of.half_b, of.shift_b);
            const int32_t sum = *a++ * (1 << 20) + of.start_a + b_scaled * 2;
            *to++ = (int8_t)nn_saturate_s8(nn_short(sum, of.multiplier, of.half, of.shift));
        }
        nn_clamp_s8(end - of.values, of.values, of.low, of.high);
    }
}

/* ADD or SUB of a few constants, the short way: they lie in flash as the reference scales them, doubled, negative for
 * SUB. */
typedef struct {
    int32_t width, channels; /* as in nn_add_s8_t */
    const int32_t *constant;
    int32_t step_row, step_pixel, step_channel;
    int32_t start, step, multiplier_in, half_in, shift_in; /* of the input, as b above */
    int32_t multiplier, half, shift;
    int32_t low, high;
} nn_add_constant_s8_t;

NN_KERNEL void nn_add_constant_s8(const nn_add_constant_s8_t *op, const nn_view *in, nn_view out, void *scratch,
                                  int32_t first, int32_t last) {
    const nn_add_constant_s8_t of = *op;
    const int32_t values = of.width * of.channels;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int8_t *from = nn_row(&in[0], y, values);
        const int32_t *start = of.constant + y * of.step_row;
        int8_t *to = nn_row(&out, y, values);
        for (int32_t x = 0; x < of.width; ++x, start += of.step_pixel) {
            const int32_t *constant = start;
            int8_t *const end = to + of.channels;
            for (; to < end; constant += of.step_channel) {
                const int32_t scaled = nn_short(*from++ * of.step + of.start, of.multiplier_in, of.half_in, of.shift_in);
                const int32_t sum = scaled * 2 + *constant;
                *to++ = (int8_t)nn_saturate_s8(nn_short(sum, of.multiplier, of.half, of.shift));
            }
        }
        nn_clamp_s8(to - values, values, of.low, of.high);
    }
}

#endif
