/* CONV_2D, int8, and FULLY_CONNECTED at each position (which is a 1x1 convolution).
 *
 * A few pixels at a time: their windows are laid out in scratch as int16, side by side, and then used for all output
 * channels, two at a time. What that needs of the channels lies in flash as one stream, in the order in which it is
 * read. */
#ifndef NN_CONV_S8_H
#define NN_CONV_S8_H

#include "nn_requantize.h"

/* The stream holds, for each two output channels a, b (the last one of an odd number has an empty fellow): their starts
 * (nn_output); for each four values of the window, in the order row, column, channel, two words, from the lowest byte
 *     a0 b0 a2 b2, a1 b1 a3 b3
 * and zeros beyond the end of the window; and their multipliers. */
typedef struct {
    const uint32_t *stream;
    const int32_t *longs; /* see nn_output */
    int32_t long_count;
    int32_t depth; /* values in a window, rounded up to a multiple of 4 */
    int16_t in_height, in_width, in_channels, out_height, out_width, out_channels;
    uint8_t filter_h, filter_w, stride_h, stride_w, dilation_h, dilation_w;
    int16_t top, left;         /* padding */
    int16_t step;              /* see nn_output */
    uint8_t scale, away;       /* see nn_output */
    int8_t in_zero, low, high; /* zero point of the input; the activation's bounds */
    uint8_t direct;            /* windows are pixels of the input, of a multiple of 4 channels */
    uint8_t lanes;             /* pixels at a time: 4, 2 or 1 */
} nn_conv_s8_t;

NN_INLINE int8_t *nn_conv_fill(int8_t *to, int32_t value, int32_t count) {
    NN_ROLLED
    for (; count > 0; --count) {
        *to++ = (int8_t)value;
    }
    return to;
}

/* The window of output pixel (y, x), with the zero point where it hangs over the edge. */
NN_SHARED void nn_conv_window(const nn_conv_s8_t *op, const nn_view *in, int32_t y, int32_t x, int8_t *window) {
    const int32_t channels = op->in_channels, row_bytes = op->in_width * channels;
    int8_t *const end = window + op->depth;
    int32_t row = y * op->stride_h - op->top;
    NN_ROLLED
    for (int32_t ky = 0; ky < op->filter_h; ++ky, row += op->dilation_h) {
        const int8_t *from = row >= 0 && row < op->in_height ? nn_row(in, row, row_bytes) : NULL;
        int32_t column = x * op->stride_w - op->left;
        /* A row of the window lies together, unless it is dilated or hangs over the edge. */
        const int whole = op->dilation_w == 1 && column >= 0 && column + op->filter_w <= op->in_width;
        const int32_t together = whole ? op->filter_w : 1;
        NN_ROLLED
        for (int32_t kx = 0; kx < op->filter_w; kx += together, column += op->dilation_w) {
            int32_t count = together * channels;
            if (from == NULL || column < 0 || column >= op->in_width) {
                window = nn_conv_fill(window, op->in_zero, count);
                continue;
            }
            const int8_t *value = from + column * channels;
            /* A few words and bytes: no call. */
            NN_ROLLED
            for (; count >= 4; count -= 4, window += 4, value += 4) {
                nn_store_word(window, nn_load_word(value));
            }
            NN_ROLLED
            for (; count > 0; --count) {
                *window++ = *value++;
            }
        }
    }
    nn_conv_fill(window, 0, (int32_t)(end - window));
}

#if NN_DSP
/* Values of a window to int16: 0 and 2 in one word, 1 and 3 in the one `lanes` words behind it, and so on; the words of
 * other pixels lie between. Scaled, the values go to the upper bytes. */
NN_SHARED void nn_conv_expand(const int8_t *from, int32_t depth, int32_t scale, uint32_t *to, int32_t lanes) {
    const int8_t *const end = from + depth;
    uint32_t *odd = to + lanes;
    lanes *= 2;
    if (scale == 0) {
        NN_ROLLED
        for (; from < end; from += 4, to += lanes, odd += lanes) {
            const uint32_t word = nn_load_word(from);
            *to = nn_even_bytes(word);
            *odd = nn_odd_bytes(word);
        }
        return;
    }
    NN_ROLLED
    for (; from < end; from += 4, to += lanes, odd += lanes) {
        const uint32_t word = nn_load_word(from);
        *to = (word << 8) & 0xff00ff00u;
        *odd = word & 0xff00ff00u;
    }
}

/* Four pixels, all output channels by twos. */
typedef struct {
    const uint32_t *values, *end; /* windows, int16, four side by side */
    int32_t half;                 /* not 0: the depth is an odd multiple of 4 */
    int32_t step;
    int8_t *out;
    int32_t stride; /* from pixel to pixel */
    int8_t *out_end;
    int32_t away;
    const uint32_t *stream;
} nn_conv_block;

/* Sixteen products: two values of four pixels, two channels. */
#define NN_CONV_PRODUCTS       \
    "ldr r2, [r0], #4\n"       \
    "ldrd r4, r5, [r1], #8\n"  \
    "sxtb16 r3, r2, ror #8\n"  \
    "sxtb16 r2, r2\n"          \
    "smlad r6, r4, r2, r6\n"   \
    "smlad r7, r5, r2, r7\n"   \
    "smlad r10, r4, r3, r10\n" \
    "smlad r11, r5, r3, r11\n" \
    "ldrd r4, r5, [r1], #8\n"  \
    "smlad r8, r4, r2, r8\n"   \
    "smlad r9, r5, r2, r9\n"   \
    "smlad r12, r4, r3, r12\n" \
    "smlad lr, r5, r3, lr\n"

/* nn_finish but for the saturation, for one sum. */
#define NN_CONV_SHORT(sum, multiplier)             \
    "smmla " sum ", " sum ", " multiplier ", r3\n" \
    "asr " sum ", " sum ", r2\n"
#define NN_CONV_SHORT_AWAY(sum, multiplier)        \
    "lsr r1, " sum ", #31\n"                       \
    "smmla " sum ", " sum ", " multiplier ", r3\n" \
    "sub " sum ", " sum ", r1, lsl #7\n"           \
    "asr " sum ", " sum ", r2\n"
#define NN_CONV_STORE(a, b, address)  \
    "ssat " a ", #8, " a ", asr #1\n" \
    "ssat " b ", #8, " b ", asr #1\n" \
    "bfi " a ", " b ", #8, #8\n"      \
    "strh " a ", " address "\n"

/* The heart of it. No compiler keeps eight sums, the values and both pointers in the fourteen registers; so this is
 * written out. r0 stream, r1 values, r2 r3 weights of a and b, r4 r5 values, r6..r9 sums of a, r10..r12 and lr of b. On
 * the stack: the starts of a and b, then the block from `values` to `away`. */
NN_NAKED void nn_conv_4x2(const nn_conv_block *block NN_UNUSED) {
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        "ldmia r0!, {r1-r8}\n"
        "ldr r0, [r0]\n"
        "push {r1-r8}\n"
        "sub sp, #8\n"
        "1:\n" /* two channels */
        "ldrd r6, r10, [r0], #8\n"
        "ldr r2, [sp, #16]\n" /* half */
        "ldr r1, [sp, #8]\n" /* values */
        "strd r6, r10, [sp]\n"
        "bic r6, r6, #255\n"
        "bic r10, r10, #255\n"
        "mov r7, r6\n"
        "mov r8, r6\n"
        "mov r9, r6\n"
        "mov r11, r10\n"
        "mov r12, r10\n"
        "mov lr, r10\n"
        "cbnz r2, 3f\n"
        "2:\n" /* eight values */
        NN_CONV_PRODUCTS NN_CONV_PRODUCTS
        "3:\n"
        NN_CONV_PRODUCTS NN_CONV_PRODUCTS
        "ldr r2, [sp, #12]\n" /* end */
        "cmp r1, r2\n"
        "bne 2b\n"
        "ldrd r4, r5, [r0], #8\n" /* multipliers */
        "ldrb r2, [sp, #0]\n" /* shift of a */
        "ldr r3, [sp, #20]\n" /* step */
        "ldr r1, [sp, #36]\n" /* away */
        "lsls r3, r2\n"
        "adds r3, #64\n"
        "cbnz r1, 4f\n"
        NN_CONV_SHORT("r6", "r4") NN_CONV_SHORT("r7", "r4") NN_CONV_SHORT("r8", "r4") NN_CONV_SHORT("r9", "r4")
        "ldrb r2, [sp, #4]\n" /* shift of b */
        "ldr r3, [sp, #20]\n"
        "lsls r3, r2\n"
        "adds r3, #64\n"
        NN_CONV_SHORT("r10", "r5") NN_CONV_SHORT("r11", "r5") NN_CONV_SHORT("r12", "r5") NN_CONV_SHORT("lr", "r5")
        "b 5f\n"
        "4:\n"
        NN_CONV_SHORT_AWAY("r6", "r4") NN_CONV_SHORT_AWAY("r7", "r4")
        NN_CONV_SHORT_AWAY("r8", "r4") NN_CONV_SHORT_AWAY("r9", "r4")
        "ldrb r2, [sp, #4]\n"
        "ldr r3, [sp, #20]\n"
        "lsls r3, r2\n"
        "adds r3, #64\n"
        NN_CONV_SHORT_AWAY("r10", "r5") NN_CONV_SHORT_AWAY("r11", "r5")
        NN_CONV_SHORT_AWAY("r12", "r5") NN_CONV_SHORT_AWAY("lr", "r5")
        "5:\n"
        "ldrd r1, r2, [sp, #24]\n" /* out, stride */
        "add r3, r2, r2, lsl #1\n"
        NN_CONV_STORE("r6", "r10", "[r1]") NN_CONV_STORE("r7", "r11", "[r1, r2]")
        NN_CONV_STORE("r8", "r12", "[r1, r2, lsl #1]") NN_CONV_STORE("r9", "lr", "[r1, r3]")
        "ldr r2, [sp, #32]\n" /* end of the output */
        "adds r1, #2\n"
        "str r1, [sp, #24]\n"
        "cmp r1, r2\n"
        "bne 1b\n"
        "add sp, #40\n"
        "pop {r4-r11, pc}\n" NN_NAKED_END);
}
#endif

/* The sums of one or two pixels (`lanes`) with two channels: of a, of b, for the first pixel and the second. */
typedef struct {
    uint32_t a0, a1, b0, b1;
} nn_conv_quad;

/* Windows: int16 and side by side with DSP instructions, else int8 and `apart` bytes one behind the other. */
NN_INLINE nn_conv_quad nn_conv_sums(const nn_conv_s8_t *op, const void *windows, int32_t apart, const uint32_t *stream,
                                    int lanes) {
    const uint32_t *const end = stream + op->depth / 2;
#if NN_DSP
    const uint32_t *value = (const uint32_t *)windows;
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    (void)apart;
    NN_ROLLED
    for (; stream < end; ++stream, value += lanes) {
        const uint32_t wa = nn_even_bytes(*stream), wb = nn_odd_bytes(*stream);
        a0 = nn_mac2(value[0], wa, a0);
        b0 = nn_mac2(value[0], wb, b0);
        if (lanes == 2) {
            a1 = nn_mac2(value[1], wa, a1);
            b1 = nn_mac2(value[1], wb, b1);
        }
    }
    const nn_conv_quad quad = {(uint32_t)a0, (uint32_t)a1, (uint32_t)b0, (uint32_t)b1};
#else
    const int8_t *value = (const int8_t *)windows;
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0; /* below 2^31: windows have less than 2^17 values */
    NN_ROLLED
    for (int32_t on = 1; stream < end; value += on, on ^= 2) { /* to value 1, then to 4 */
        const uint32_t word = *stream++;
        int32_t wa = (int8_t)word, wb = (int8_t)(word >> 8), x = value[0];
        a0 += x * wa;
        b0 += x * wb;
        if (lanes == 2) {
            x = value[apart];
            a1 += x * wa;
            b1 += x * wb;
        }
        wa = (int8_t)(word >> 16), wb = (int8_t)(word >> 24), x = value[2];
        a0 += x * wa;
        b0 += x * wb;
        if (lanes == 2) {
            x = value[apart + 2];
            a1 += x * wa;
            b1 += x * wb;
        }
    }
    const nn_conv_quad quad = {(uint32_t)a0 << op->scale, (uint32_t)a1 << op->scale, (uint32_t)b0 << op->scale,
                               (uint32_t)b1 << op->scale};
#endif
    return quad;
}

/* One or two pixels, output channels from `channel` (an even number) to `last`. */
NN_INLINE void nn_conv_few(const nn_conv_s8_t *op, const nn_output *output, const void *windows, int32_t apart,
                           int8_t *out, int32_t channel, int32_t last, int lanes) {
    const int32_t words = op->depth / 2 + 4, stride = op->out_channels;
    const uint32_t *stream = op->stream + channel / 2 * words;
    NN_ROLLED
    for (; channel < last; channel += 2, stream += words) {
        const nn_conv_quad sums = nn_conv_sums(op, windows, apart, stream + 2, lanes);
        const nn_channel a = nn_channel_of(output, stream[0], (int32_t)stream[words - 2]);
        const nn_channel b = nn_channel_of(output, stream[1], (int32_t)stream[words - 1]);
        int8_t *const to = out + channel;
        to[0] = nn_finish(output, &a, sums.a0);
        if (lanes == 2) {
            to[stride] = nn_finish(output, &a, sums.a1);
        }
        if (channel + 1 == stride) {
            return;
        }
        to[1] = nn_finish(output, &b, sums.b0);
        if (lanes == 2) {
            to[stride + 1] = nn_finish(output, &b, sums.b1);
        }
    }
}

NN_SHARED void nn_conv_1(const nn_conv_s8_t *op, const nn_output *output, const void *window, int8_t *out,
                         int32_t channel, int32_t last) {
    nn_conv_few(op, output, window, 0, out, channel, last, 1);
}

NN_SHARED void nn_conv_2(const nn_conv_s8_t *op, const nn_output *output, const void *windows, int32_t apart,
                         int8_t *out) {
    nn_conv_few(op, output, windows, apart, out, 0, op->out_channels, 2);
}

/* Where the window of output pixel (y, x) lies: in the input, or made in `room`. */
NN_INLINE const int8_t *nn_conv_find(const nn_conv_s8_t *op, const nn_view *in, int32_t y, int32_t x, int8_t *room) {
    if (op->direct) {
        const int32_t row_bytes = op->in_width * op->in_channels;
        return nn_row(in, y * op->stride_h, row_bytes) + x * op->stride_w * op->in_channels;
    }
    nn_conv_window(op, in, y, x, room);
    return room;
}

#if NN_DSP
/* Lays out the windows of `lanes` pixels from (y, x). Scratch: the windows, then room for one as int8. */
NN_SHARED void nn_conv_lay(const nn_conv_s8_t *op, const nn_view *in, int32_t y, int32_t x, uint32_t *values,
                           int32_t lanes) {
    int8_t *const room = (int8_t *)(values + op->depth / 2 * lanes);
    NN_ROLLED
    for (int32_t i = 0; i < lanes; ++i) {
        nn_conv_expand(nn_conv_find(op, in, y, x + i, room), op->depth, op->scale, values + i, lanes);
    }
}

/* What nn_conv_4x2 cannot do, for its four pixels: channels of the long way, and the last one of an odd number. */
NN_SHARED void nn_conv_mend(const nn_conv_s8_t *op, const nn_output *output, const nn_view *in, int32_t y, int32_t x,
                            int8_t *to, uint32_t *values) {
    const int32_t last = op->out_channels - 1;
    NN_ROLLED
    for (int32_t end = x + 4; x < end; ++x, to += op->out_channels) {
        nn_conv_lay(op, in, y, x, values, 1);
        NN_ROLLED
        for (int32_t i = 0; i < op->long_count; ++i) {
            const int32_t channel = op->longs[i * NN_LONG_WORDS];
            nn_conv_1(op, output, values, to, channel & ~1, channel + 1);
        }
        if ((last & 1) == 0) {
            nn_conv_1(op, output, values, to, last, last + 1);
        }
    }
}

/* A row of pixels. */
NN_SHARED void nn_conv_row(const nn_conv_s8_t *op, const nn_output *output, const nn_view *in, int32_t y, int32_t width,
                           int8_t *to, void *scratch) {
    const int32_t stride = op->out_channels, pairs = stride & ~1;
    uint32_t *const values = (uint32_t *)scratch;
    nn_conv_block block = {values,     values + 2 * op->depth, op->depth & 4, op->step,  NULL, stride,
                           NULL, op->away, op->stream};
    int32_t x = 0;
    for (; x + 4 <= width && op->lanes == 4 && pairs != 0; x += 4, to += 4 * stride) {
        nn_conv_lay(op, in, y, x, values, 4);
        block.out = to;
        block.out_end = to + pairs;
        nn_conv_4x2(&block);
        if (op->long_count != 0 || pairs < stride) {
            nn_conv_mend(op, output, in, y, x, to, values);
        }
    }
    NN_ROLLED
    for (; x < width; ++x, to += stride) {
        if (x + 1 < width && op->lanes > 1) {
            nn_conv_lay(op, in, y, x, values, 2);
            nn_conv_2(op, output, values, 0, to);
            ++x, to += stride;
        } else {
            nn_conv_lay(op, in, y, x, values, 1);
            nn_conv_1(op, output, values, to, 0, stride);
        }
    }
}
#else
NN_SHARED void nn_conv_row(const nn_conv_s8_t *op, const nn_output *output, const nn_view *in, int32_t y, int32_t width,
                           int8_t *to, void *scratch) {
    int8_t *const room = (int8_t *)scratch;
    for (int32_t x = 0; x < width; ++x, to += op->out_channels) {
        const int8_t *window = nn_conv_find(op, in, y, x, room);
        if (x + 1 < width && op->lanes > 1) {
            const int8_t *next = nn_conv_find(op, in, y, ++x, room + op->depth);
            nn_conv_2(op, output, window, (int32_t)(next - window), to);
            to += op->out_channels;
        } else {
            nn_conv_1(op, output, window, to, 0, op->out_channels);
        }
    }
}
#endif

NN_KERNEL void nn_conv_s8(const nn_conv_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                          int32_t last) {
    const nn_output output = {op->longs, op->long_count, op->step, op->scale, op->away};
    /* Rows that lie one behind the other are one long row. */
    const int flat = op->direct && op->stride_h * op->stride_w == 1 && in->ring >= op->in_height &&
                     out.ring >= op->out_height;
    const int32_t rows = flat ? last - first : 1, width = op->out_width * rows;
    for (int32_t y = first; y < last; y += rows) {
        int8_t *const to = nn_row(&out, y, op->out_width * op->out_channels);
        nn_conv_row(op, &output, in, y, width, to, scratch);
        nn_clamp_s8(to, width * op->out_channels, op->low, op->high);
    }
}

#endif
