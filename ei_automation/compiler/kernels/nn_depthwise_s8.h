/* DEPTHWISE_CONV_2D, int8.
 *
 * Four input channels at a time: the rows under the window are laid out in scratch as int16, a channel behind the
 * other, with the zero point where the window hangs over the edge. Then each channel is a small one-channel
 * convolution along x, whose weights stay in registers or close by. */
#ifndef NN_DEPTHWISE_S8_H
#define NN_DEPTHWISE_S8_H

#include "nn_requantize.h"

/* Weights: for each output channel its window, row by row; 3 bytes more at the very end.
 *
 * Scratch: planes[4][filter_h][columns]. A laid row stays while later output rows of the same call need it: row v,
 * counted from the first row of the padding, lies in slot v % filter_h. With a dilated window a slot is a row of the
 * window, laid again for each output row. */
typedef struct {
    const int8_t *weights;
    const int32_t *starts, *multipliers; /* see nn_output */
    const int32_t *longs;
    int32_t long_count;
    int16_t in_height, in_width, in_channels, out_width;
    int16_t multiple; /* outputs for each input channel */
    int16_t columns;  /* of a row in scratch: even, and enough for a multiple of 4 output columns */
    int16_t before, inside; /* pairs of columns that hang over the left edge, and that lie in the image, if all do */
    uint8_t filter_h, filter_w, stride_h, stride_w, dilation_h, dilation_w;
    int16_t top, left;         /* padding */
    int16_t step;              /* see nn_output */
    uint8_t scale, away;       /* see nn_output */
    int8_t in_zero, low, high; /* zero point of the input; the activation's bounds */
} nn_depthwise_s8_t;

#define NN_DEPTHWISE_CHANNELS 4

#if NN_DSP
/* Two pixels of four channels into four planes: columns 2 * pair and 2 * pair + 1, in upper bytes. */
NN_INLINE void nn_depthwise_lay_pair(uint32_t a, uint32_t b, uint32_t *plane, int32_t apart) {
    const uint32_t low = nn_lower_halves(a, b), high = nn_upper_halves(a, b);
    plane[0] = (low << 8) & 0xff00ff00u;
    plane[apart] = low & 0xff00ff00u;
    plane[2 * apart] = (high << 8) & 0xff00ff00u;
    plane[3 * apart] = high & 0xff00ff00u;
}

/* Lays out one row for four channels, a plane `apart` words behind the other. `from` is a null pointer for a row
 * outside of the image. */
NN_SHARED void nn_depthwise_lay_4(const nn_depthwise_s8_t *op, const int8_t *from, uint32_t *plane, int32_t apart) {
    const int32_t pixel = op->in_channels;
    const uint32_t zero = (uint8_t)op->in_zero * 0x01010101u, width = from != NULL ? (uint32_t)op->in_width : 0;
    const uint32_t *const end = plane + op->columns / 2;
    const uint32_t *edge = from != NULL ? plane + op->before : end;
    int32_t x = -op->left;
    for (;;) {
        NN_ROLLED
        for (; plane < edge; ++plane, x += 2) { /* pairs that may hang over the edge */
            const uint32_t a = (uint32_t)x < width ? nn_load_word(from + x * pixel) : zero;
            const uint32_t b = (uint32_t)(x + 1) < width ? nn_load_word(from + (x + 1) * pixel) : zero;
            nn_depthwise_lay_pair(a, b, plane, apart);
        }
        if (plane == end) {
            return;
        }
        const int8_t *first = from + x * pixel, *second = first + pixel;
        NN_ROLLED
        for (edge += op->inside; plane < edge; ++plane, first += 2 * pixel, second += 2 * pixel) {
            nn_depthwise_lay_pair(nn_load_word(first), nn_load_word(second), plane, apart);
        }
        x += 2 * op->inside;
        edge = end;
    }
}
#endif

/* Lays out one row of one channel. */
NN_SHARED void nn_depthwise_lay_1(const nn_depthwise_s8_t *op, const int8_t *from, int16_t *plane) {
    const int32_t unit = 1 << op->scale, zero = op->in_zero * unit, right = op->left + op->in_width;
    int32_t i = 0;
    if (from != NULL) {
        NN_ROLLED
        for (; i < op->left && i < op->columns; ++i) {
            plane[i] = (int16_t)zero;
        }
        NN_ROLLED
        for (; i < right && i < op->columns; ++i, from += op->in_channels) {
            plane[i] = (int16_t)(*from * unit);
        }
    }
    NN_ROLLED
    for (; i < op->columns; ++i) {
        plane[i] = (int16_t)zero;
    }
}

/* The slot of the window's first row for output row y, and the one behind a slot. With a dilated window always 0. */
NN_INLINE int32_t nn_depthwise_slot(const nn_depthwise_s8_t *op, int32_t y) {
    return op->dilation_h > 1 ? 0 : y * op->stride_h % op->filter_h;
}
NN_INLINE int32_t nn_depthwise_next(const nn_depthwise_s8_t *op, int32_t slot) {
    return slot + 1 < op->filter_h ? slot + 1 : 0;
}

/* Lays out the rows that output row y needs, of `count` channels from `channel`; `fresh`: it is the call's first. */
NN_SHARED void nn_depthwise_lay(const nn_depthwise_s8_t *op, const nn_view *in, int32_t y, int32_t channel,
                                int32_t count, int fresh, int16_t *planes) {
    const int32_t apart = op->filter_h * op->columns;
    const int32_t kept = fresh || op->dilation_h > 1 ? 0 : op->filter_h - op->stride_h;
    int32_t slot = nn_depthwise_slot(op, y);
    for (int32_t ky = 0; ky < op->filter_h; ++ky, slot = nn_depthwise_next(op, slot)) {
        if (ky < kept) {
            continue;
        }
        const int32_t row = y * op->stride_h - op->top + ky * op->dilation_h;
        const int inside = row >= 0 && row < op->in_height;
        const int8_t *from = inside ? nn_row(in, row, op->in_width * op->in_channels) + channel : NULL;
        int16_t *plane = planes + slot * op->columns;
#if NN_DSP
        if (count == NN_DEPTHWISE_CHANNELS && op->scale != 0) {
            nn_depthwise_lay_4(op, from, (uint32_t *)(void *)plane, apart / 2);
            continue;
        }
#endif
        for (int32_t i = 0; i < count; ++i, plane += apart) {
            nn_depthwise_lay_1(op, from != NULL ? from + i : NULL, plane);
        }
    }
}

/* One output row of one output channel, of any window: four columns at a time; scratch is wide enough for it. */
NN_SHARED void nn_depthwise_row(const nn_depthwise_s8_t *op, const nn_output *output, const int16_t *planes, int32_t y,
                                int32_t channel, int8_t *out) {
    const nn_channel made = nn_channel_of(output, (uint32_t)op->starts[channel], op->multipliers[channel]);
    const int32_t stride = op->stride_w, first = nn_depthwise_slot(op, y);
    for (int32_t x = 0; x < op->out_width; x += 4) {
        const int8_t *weight = op->weights + channel * op->filter_h * op->filter_w;
        uint32_t sum[4] = {0, 0, 0, 0};
        int32_t slot = first;
        NN_ROLLED
        for (int32_t ky = 0; ky < op->filter_h; ++ky, slot = nn_depthwise_next(op, slot)) {
            const int16_t *value = planes + slot * op->columns + x * stride;
            NN_ROLLED
            for (int32_t kx = 0; kx < op->filter_w; ++kx, value += op->dilation_w) {
                const int32_t w = *weight++;
                sum[0] += (uint32_t)(w * value[0]);
                sum[1] += (uint32_t)(w * value[stride]);
                sum[2] += (uint32_t)(w * value[2 * stride]);
                sum[3] += (uint32_t)(w * value[3 * stride]);
            }
        }
        NN_ROLLED
        for (int32_t i = 0; i < 4 && x + i < op->out_width; ++i, out += op->in_channels * op->multiple) {
            *out = nn_finish(output, &made, sum[i]);
        }
    }
}

#if NN_DSP
/* One output row of some channels with a 3x3 window, stride 1 or 2. */
typedef struct {
    const int16_t *plane; /* of the first channel */
    int32_t apart;        /* bytes from plane to plane */
    int32_t rows[3];      /* bytes from the plane to the window's rows */
    const int32_t *starts, *multipliers;
    const int8_t *weights;
    int8_t *out;
    int32_t width, stride; /* columns, and bytes from one to the next, of the output */
    int32_t step, away;    /* away: 256 or 0 */
    int32_t count;         /* channels */
    int32_t room[11];      /* columns to do, start, shift, multiplier, rounding, weights */
} nn_depthwise_lines;

/* Three weights at r1 to two words: 0 1, 1 2. */
#define NN_DEPTHWISE_WEIGHTS(at)   \
    "ldr r8, [r1], #3\n"           \
    "sxtb16 r9, r8\n"              \
    "sxtb16 r8, r8, ror #8\n"      \
    "pkhbt r10, r9, r8, lsl #16\n" \
    "pkhbt r11, r8, r9\n"          \
    "strd r10, r11, [r0, #" at "]\n"

/* A row of the window for four outputs: columns in r9, r10, r11, weights 0 1 in r12, 1 2 in lr. */
#define NN_DEPTHWISE_STEP_1(row, at) \
    "ldrd r12, lr, [r0, #" at "]\n"  \
    "ldrd r9, r10, [" row "], #8\n"  \
    "ldr r11, [" row "]\n"           \
    "smlad r5, r9, r12, r5\n"        \
    "smlatb r6, r9, r12, r6\n"       \
    "smlad r7, r10, r12, r7\n"       \
    "smlatb r8, r10, r12, r8\n"      \
    "smlabt r5, r10, lr, r5\n"       \
    "smlad r6, r10, lr, r6\n"        \
    "smlabt r7, r11, lr, r7\n"       \
    "smlad r8, r11, lr, r8\n"
#define NN_DEPTHWISE_STEP_2(row, at) \
    "ldrd r12, lr, [r0, #" at "]\n"  \
    "ldrd r9, r10, [" row "], #8\n"  \
    "smlad r5, r9, r12, r5\n"        \
    "smlabt r5, r10, lr, r5\n"       \
    "ldrd r9, r11, [" row "], #8\n"  \
    "smlad r6, r10, r12, r6\n"       \
    "smlabt r6, r9, lr, r6\n"        \
    "ldr r10, [" row "]\n"           \
    "smlad r7, r9, r12, r7\n"        \
    "smlabt r7, r11, lr, r7\n"       \
    "smlad r8, r11, r12, r8\n"       \
    "smlabt r8, r10, lr, r8\n"

/* The start of nn_finish where negative halves show. */
#define NN_DEPTHWISE_AWAY(sum)          \
    "lsr lr, " sum ", #31\n"            \
    "smmla " sum ", " sum ", r9, r10\n" \
    "sub " sum ", " sum ", lr, lsl #7\n"

/* r0 lines, r1 r2 r3 rows, r4 output, r5..r8 sums. */
#define NN_DEPTHWISE_LINES(name, STEP)                                                                      \
    NN_NAKED void name(nn_depthwise_lines *lines NN_UNUSED) {                                               \
        __asm__ volatile(                                                                                   \
            ".syntax unified\n"                                                                             \
            "push {r4-r11, lr}\n"                                                                           \
            "1:\n" /* a channel */                                                                          \
            "ldr r1, [r0, #28]\n" /* weights */                                                             \
            NN_DEPTHWISE_WEIGHTS("76") NN_DEPTHWISE_WEIGHTS("84") NN_DEPTHWISE_WEIGHTS("92")                \
            "str r1, [r0, #28]\n"                                                                           \
            "ldrd r1, r2, [r0, #20]\n" /* starts, multipliers */                                            \
            "ldr r5, [r1], #4\n"                                                                            \
            "ldr r7, [r2], #4\n"                                                                            \
            "strd r1, r2, [r0, #20]\n"                                                                      \
            "ldrd r8, r9, [r0, #44]\n" /* step, away */                                                     \
            "uxtb r6, r5\n"                                                                                 \
            "bic r5, r5, #255\n"                                                                            \
            "lsl r8, r8, r6\n"                                                                              \
            "add r8, r8, #64\n"                                                                             \
            "orr r6, r6, r9\n"                                                                              \
            "strd r5, r6, [r0, #60]\n"                                                                      \
            "strd r7, r8, [r0, #68]\n"                                                                      \
            "ldrd r4, r5, [r0, #32]\n" /* output, width */                                                  \
            "adds r6, r4, #1\n"                                                                             \
            "str r6, [r0, #32]\n"                                                                           \
            "str r5, [r0, #56]\n"                                                                           \
            "ldrd r5, r6, [r0, #0]\n" /* plane, apart */                                                    \
            "add r6, r5\n"                                                                                  \
            "str r6, [r0, #0]\n"                                                                            \
            "ldrd r1, r2, [r0, #8]\n" /* rows */                                                            \
            "ldr r3, [r0, #16]\n"                                                                           \
            "add r1, r5\n"                                                                                  \
            "add r2, r5\n"                                                                                  \
            "add r3, r5\n"                                                                                  \
            "2:\n" /* four columns */                                                                       \
            "ldr r5, [r0, #60]\n" /* start */                                                               \
            "mov r6, r5\n"                                                                                  \
            "mov r7, r5\n"                                                                                  \
            "mov r8, r5\n"                                                                                  \
            STEP("r1", "76") STEP("r2", "84") STEP("r3", "92")                                              \
            "ldrd r9, r10, [r0, #68]\n" /* multiplier, rounding */                                          \
            "ldr r11, [r0, #64]\n" /* shift; 256 is no part of it, but says `away` */                       \
            "tst r11, #256\n"                                                                               \
            "bne 5f\n"                                                                                      \
            "smmla r5, r5, r9, r10\n"                                                                       \
            "smmla r6, r6, r9, r10\n"                                                                       \
            "smmla r7, r7, r9, r10\n"                                                                       \
            "smmla r8, r8, r9, r10\n"                                                                       \
            "3:\n"                                                                                          \
            "ldr r12, [r0, #56]\n" /* columns to do */                                                      \
            "ldr lr, [r0, #40]\n" /* stride */                                                              \
            "asr r5, r5, r11\n"                                                                             \
            "asr r6, r6, r11\n"                                                                             \
            "asr r7, r7, r11\n"                                                                             \
            "asr r8, r8, r11\n"                                                                             \
            "ssat r5, #8, r5, asr #1\n"                                                                     \
            "ssat r6, #8, r6, asr #1\n"                                                                     \
            "ssat r7, #8, r7, asr #1\n"                                                                     \
            "ssat r8, #8, r8, asr #1\n"                                                                     \
            "subs r12, #4\n"                                                                                \
            "str r12, [r0, #56]\n"                                                                          \
            "strb r5, [r4]\n"                                                                               \
            "blo 6f\n"                                                                                      \
            "strb r6, [r4, lr]\n"                                                                           \
            "strb r7, [r4, lr, lsl #1]\n"                                                                   \
            "add r4, r4, lr, lsl #1\n"                                                                      \
            "strb r8, [r4, lr]\n"                                                                           \
            "add r4, r4, lr, lsl #1\n"                                                                      \
            "bhi 2b\n"                                                                                      \
            "4:\n"                                                                                          \
            "ldr r1, [r0, #52]\n" /* channels to do */                                                      \
            "subs r1, #1\n"                                                                                 \
            "str r1, [r0, #52]\n"                                                                           \
            "bne 1b\n"                                                                                      \
            "pop {r4-r11, pc}\n"                                                                            \
            "5:\n"                                                                                          \
            NN_DEPTHWISE_AWAY("r5") NN_DEPTHWISE_AWAY("r6") NN_DEPTHWISE_AWAY("r7") NN_DEPTHWISE_AWAY("r8") \
            "b 3b\n"                                                                                        \
            "6:\n" /* one to three columns were left */                                                     \
            "adds r12, #3\n"                                                                                \
            "beq 4b\n"                                                                                      \
            "strb r6, [r4, lr]\n"                                                                           \
            "subs r12, #1\n"                                                                                \
            "beq 4b\n"                                                                                      \
            "strb r7, [r4, lr, lsl #1]\n"                                                                   \
            "b 4b\n" NN_NAKED_END);                                                                         \
    }
NN_DEPTHWISE_LINES(nn_depthwise_lines_1, NN_DEPTHWISE_STEP_1)
NN_DEPTHWISE_LINES(nn_depthwise_lines_2, NN_DEPTHWISE_STEP_2)

/* Output row y of `count` input channels from `channel` with a 3x3 window. Channels of the long way come out wrong. */
NN_SHARED void nn_depthwise_3x3(const nn_depthwise_s8_t *op, const int16_t *planes, int32_t y, int32_t channel,
                                int32_t count, int8_t *out) {
    nn_depthwise_lines lines;
    const int32_t slot = nn_depthwise_slot(op, y), second = nn_depthwise_next(op, slot);
    const int32_t row_bytes = 2 * op->columns, multiple = op->multiple;
    /* One input channel may have several outputs: then they are the lines, of one plane. */
    const int32_t several = multiple > 1;
    lines.apart = several ? 0 : 3 * row_bytes;
    lines.rows[0] = slot * row_bytes;
    lines.rows[1] = second * row_bytes;
    lines.rows[2] = nn_depthwise_next(op, second) * row_bytes;
    lines.starts = op->starts + channel * multiple;
    lines.multipliers = op->multipliers + channel * multiple;
    lines.weights = op->weights + channel * multiple * 9;
    lines.out = out + channel * multiple;
    lines.width = op->out_width;
    lines.stride = op->in_channels * multiple;
    lines.step = op->step;
    lines.away = 2 * op->away;
    for (int32_t i = 0; i < (several ? count : 1); ++i, planes += 3 * op->columns) {
        lines.plane = planes;
        lines.count = several ? multiple : count;
        if (op->stride_w == 1) {
            nn_depthwise_lines_1(&lines);
        } else {
            nn_depthwise_lines_2(&lines);
        }
    }
}
#endif

/* Output row y of `count` input channels from `channel`, whose rows are laid. */
NN_SHARED void nn_depthwise_channels(const nn_depthwise_s8_t *op, const int16_t *planes, int32_t y, int32_t channel,
                                     int32_t count, int8_t *out) {
    const nn_output output = {op->longs, op->long_count, op->step, op->scale, op->away};
    int lined = 0;
#if NN_DSP
    lined = op->filter_h == 3 && op->filter_w == 3 && op->dilation_w == 1 && op->stride_w <= 2 && op->scale != 0;
    if (lined) {
        nn_depthwise_3x3(op, planes, y, channel, count, out);
        if (op->long_count == 0) {
            return;
        }
    }
#endif
    for (int32_t i = 0; i < count; ++i, planes += op->filter_h * op->columns) {
        for (int32_t made = (channel + i) * op->multiple; made < (channel + i + 1) * op->multiple; ++made) {
            if (!lined || (op->starts[made] & 255) == NN_LONG) {
                nn_depthwise_row(op, &output, planes, y, made, out + made);
            }
        }
    }
}

NN_KERNEL void nn_depthwise_s8(const nn_depthwise_s8_t *op, const nn_view *in, nn_view out, void *scratch,
                               int32_t first, int32_t last) {
    const int32_t row_bytes = op->out_width * op->in_channels * op->multiple;
    int16_t *const planes = (int16_t *)scratch;
    for (int32_t channel = 0; channel < op->in_channels; channel += NN_DEPTHWISE_CHANNELS) {
        const int32_t left = op->in_channels - channel;
        const int32_t count = left < NN_DEPTHWISE_CHANNELS ? left : NN_DEPTHWISE_CHANNELS;
        for (int32_t y = first; y < last; ++y) {
            nn_depthwise_lay(op, in, y, channel, count, y == first, planes);
            nn_depthwise_channels(op, planes, y, channel, count, nn_row(&out, y, row_bytes));
        }
    }
    NN_ROLLED
    for (int32_t y = first; y < last; ++y) {
        nn_clamp_s8(nn_row(&out, y, row_bytes), row_bytes, op->low, op->high);
    }
}

#endif
