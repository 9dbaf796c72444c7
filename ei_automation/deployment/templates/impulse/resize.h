/* A picture of any size into the model's input size, by the impulse's resize mode.
 *
 * Crop and letterbox are the whole-number arithmetic of Edge Impulse's Linux SDK; resizing is OpenCV's INTER_AREA for
 * 8-bit pictures, which that SDK and the training use: the same pixels come out. Include after impulse.h. */
#ifndef IMPULSE_RESIZE_H
#define IMPULSE_RESIZE_H

#include <stdint.h>

#include "impulse.h"

/* Part of a picture with four bytes a pixel: red, green, blue and one that is not looked at. */
typedef struct {
    const uint8_t *data;
    int32_t stride, width, height; /* stride: pixels from a row to the next */
} impulse_picture;

/* Source pixels under a resulting one along an axis: of the first and the last only a part may count. */
typedef struct {
    int32_t first, count;
    float head, middle, tail; /* weights of the first, of those between, of the last */
} impulse_taps;

static int32_t impulse_ceil(double value) {
    int32_t whole = (int32_t)value;
    return whole + ((double)whole < value);
}

static uint8_t impulse_rounded(float value) {
    /* Halves go to the even number, as the processor's rounding does that OpenCV uses. */
    int32_t whole = (int32_t)value;
    float rest = value - (float)whole;
    whole += rest > 0.5f || (rest == 0.5f && (whole & 1));
    return (uint8_t)(whole > 255 ? 255 : whole);
}

/* The pixels under result `index`; scale: source pixels a result pixel, at least 1. */
static impulse_taps impulse_area_taps(int32_t index, double scale, int32_t size) {
    const double least = 1e-3; /* a smaller part of a pixel does not count */
    double start = index * scale, end = start + scale, room = size - start;
    double width = scale < room ? scale : room;
    int32_t first = impulse_ceil(start), last = (int32_t)end;
    impulse_taps taps;
    last = last < size - 1 ? last : size - 1;
    first = first < last ? first : last;
    taps.first = first;
    taps.count = last - first;
    taps.head = taps.middle = taps.tail = (float)(1.0 / width);
    if (end - last > least) {
        double part = end - last < 1.0 ? end - last : 1.0;
        taps.tail = (float)((part < width ? part : width) / width);
        taps.count++;
    }
    if (first - start > least) {
        taps.head = (float)((first - start) / width);
        taps.first--;
        taps.count++;
    }
    return taps;
}

static float impulse_tap_weight(const impulse_taps *taps, int32_t tap) {
    return tap == 0 ? taps->head : tap == taps->count - 1 ? taps->tail : taps->middle;
}

/* One source row, resized along its length. */
static void impulse_area_row(const uint8_t *row, const impulse_taps *taps, int32_t width, float *sums) {
    for (int32_t x = 0; x < width; x++, sums += 3) {
        const uint8_t *pixel = row + 4 * taps[x].first;
        sums[0] = sums[1] = sums[2] = 0.0f;
        for (int32_t tap = 0; tap < taps[x].count; tap++, pixel += 4) {
            float weight = impulse_tap_weight(&taps[x], tap);
            sums[0] += (float)pixel[0] * weight;
            sums[1] += (float)pixel[1] * weight;
            sums[2] += (float)pixel[2] * weight;
        }
    }
}

/* Smaller along both axes, by any factor. to: three bytes a pixel; stride: pixels from a row to the next. */
static void impulse_area(const impulse_picture *from, uint8_t *to, int32_t width, int32_t height, int32_t stride,
                         double scale_x, double scale_y) {
    static impulse_taps columns[IMPULSE_WIDTH];
    static float row_sums[IMPULSE_WIDTH * 3], sums[IMPULSE_WIDTH * 3];
    for (int32_t x = 0; x < width; x++) {
        columns[x] = impulse_area_taps(x, scale_x, from->width);
    }
    for (int32_t y = 0; y < height; y++) {
        impulse_taps rows = impulse_area_taps(y, scale_y, from->height);
        for (int32_t tap = 0; tap < rows.count; tap++) {
            float weight = impulse_tap_weight(&rows, tap);
            impulse_area_row(from->data + (intptr_t)4 * (rows.first + tap) * from->stride, columns, width, row_sums);
            for (int32_t index = 0; index < width * 3; index++) {
                sums[index] = weight * row_sums[index] + (tap ? sums[index] : 0.0f);
            }
        }
        for (int32_t index = 0; index < width * 3; index++) {
            to[3 * stride * y + index] = impulse_rounded(sums[index]);
        }
    }
}

/* Smaller along both axes, by whole factors: the mean of a block, its sum exact. */
static void impulse_blocks(const impulse_picture *from, uint8_t *to, int32_t width, int32_t height, int32_t stride,
                           int32_t block_x, int32_t block_y) {
    const float share = 1.0f / (float)(block_x * block_y);
    for (int32_t index = 0; index < width * height * 3; index++) {
        int32_t channel = index % 3, x = index / 3 % width, y = index / 3 / width, sum = 0;
        const uint8_t *block = from->data + 4 * ((intptr_t)y * block_y * from->stride + x * block_x) + channel;
        for (int32_t pixel = 0; pixel < block_x * block_y; pixel++) {
            sum += block[4 * ((intptr_t)(pixel / block_x) * from->stride + pixel % block_x)];
        }
        to[3 * (stride * y + x) + channel] =
            block_x == 2 && block_y == 2 ? (uint8_t)((sum + 2) >> 2) : impulse_rounded((float)sum * share);
    }
}

/* Where result `index` lies between two source pixels: gives the first, and the weights of both in 1/2048. inverse:
 * result pixels a source pixel. */
static int32_t impulse_between(int32_t index, double inverse, int32_t weights[2]) {
    int32_t first = (int32_t)(index * (1.0 / inverse));
    float rest = (float)((index + 1) - (first + 1) * inverse);
    rest = rest <= 0.0f ? 0.0f : rest - (float)(int32_t)rest;
    float scaled[2] = {(1.0f - rest) * 2048.0f, rest * 2048.0f};
    for (int32_t side = 0; side < 2; side++) { /* halves to the even number */
        int32_t whole = (int32_t)scaled[side];
        float part = scaled[side] - (float)whole;
        weights[side] = whole + (part > 0.5f || (part == 0.5f && (whole & 1)));
    }
    return first;
}

/* Larger along at least one axis: OpenCV then blends two pixels along each, in whole numbers. */
static void impulse_blend(const impulse_picture *from, uint8_t *to, int32_t width, int32_t height, int32_t stride,
                          double inverse_x, double inverse_y) {
    for (int32_t index = 0; index < width * height * 3; index++) {
        int32_t channel = index % 3, x = index / 3 % width, y = index / 3 / width, across[2], down[2], value = 2;
        int32_t column = impulse_between(x, inverse_x, across), row = impulse_between(y, inverse_y, down);
        for (int32_t side = 0; side < 2; side++) {
            int32_t line = row + side < from->height ? row + side : from->height - 1;
            const uint8_t *pixel = from->data + 4 * ((intptr_t)line * from->stride + column) + channel;
            /* The last column has no neighbour: it counts whole. */
            int32_t blended = column + 1 < from->width ? pixel[0] * across[0] + pixel[4] * across[1] : pixel[0] * 2048;
            value += (down[side] * (blended >> 4)) >> 16;
        }
        value >>= 2;
        to[3 * (stride * y + x) + channel] = (uint8_t)(value > 255 ? 255 : value);
    }
}

static void impulse_resize(const impulse_picture *from, uint8_t *to, int32_t width, int32_t height, int32_t stride) {
    /* Not size / size: OpenCV divides twice. */
    double inverse_x = (double)width / from->width, inverse_y = (double)height / from->height;
    double scale_x = 1.0 / inverse_x, scale_y = 1.0 / inverse_y;
    int32_t block_x = (int32_t)(scale_x + 0.5), block_y = (int32_t)(scale_y + 0.5);
    const double near = 2.220446049250313e-16;
    if (scale_x < 1.0 || scale_y < 1.0) {
        impulse_blend(from, to, width, height, stride, inverse_x, inverse_y);
    } else if (scale_x - block_x < near && block_x - scale_x < near && scale_y - block_y < near &&
               block_y - scale_y < near) {
        impulse_blocks(from, to, width, height, stride, block_x, block_y);
    } else {
        impulse_area(from, to, width, height, stride, scale_x, scale_y);
    }
}

static int32_t impulse_at_least_one(double value) { return value < 1.0 ? 1 : (int32_t)value; }

/* The centre of a picture that has the input's shape. */
static impulse_picture impulse_crop(const impulse_picture *from) {
    const double aspect = (double)IMPULSE_WIDTH / IMPULSE_HEIGHT;
    impulse_picture part = *from;
    if ((double)from->width / from->height > aspect) {
        part.width = impulse_at_least_one(from->height * aspect);
    } else {
        part.height = impulse_at_least_one(from->width / aspect);
    }
    part.data += 4 * ((intptr_t)((from->height - part.height) / 2) * from->stride + (from->width - part.width) / 2);
    return part;
}

/* Bring a picture to IMPULSE_WIDTH x IMPULSE_HEIGHT; to: three bytes a pixel. */
static void impulse_fit(const impulse_picture *from, uint8_t *to) {
    int32_t width = IMPULSE_WIDTH, height = IMPULSE_HEIGHT;
    impulse_picture part = *from;
    if (IMPULSE_RESIZE_MODE == IMPULSE_FIT_SHORT) {
        part = impulse_crop(from);
    } else if (IMPULSE_RESIZE_MODE == IMPULSE_FIT_LONG) {
        double across = (double)IMPULSE_WIDTH / from->width, down = (double)IMPULSE_HEIGHT / from->height;
        double scale = across < down ? across : down;
        width = impulse_at_least_one(from->width * scale);
        height = impulse_at_least_one(from->height * scale);
        for (int32_t index = 0; index < IMPULSE_WIDTH * IMPULSE_HEIGHT * 3; index++) {
            to[index] = 0;
        }
        to += 3 * ((IMPULSE_HEIGHT - height) / 2 * IMPULSE_WIDTH + (IMPULSE_WIDTH - width) / 2);
    }
    impulse_resize(&part, to, width, height, IMPULSE_WIDTH);
}

#endif
