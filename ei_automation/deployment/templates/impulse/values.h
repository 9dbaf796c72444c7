/* Pixels into the model's input, and its output into scores, as the model was trained and tested.
 *
 * Edge Impulse's inferencing SDK cuts the luma of its int8 way off, and so darkens every gray pixel by one level; here
 * it is rounded.
 *
 * impulse.h (generated) says what the tensors are. */
#ifndef IMPULSE_VALUES_H
#define IMPULSE_VALUES_H

#include <stdint.h>

#include "impulse.h"
#include "model.h"

#define IMPULSE_PIXELS (IMPULSE_WIDTH * IMPULSE_HEIGHT)

/* The short way: a pixel minus 128 is the quantized value of pixel / 255. */
#define IMPULSE_IS_PLAIN (IMPULSE_INPUT_SCALE == 0.003921568859368563f && IMPULSE_INPUT_ZERO_POINT == -128)

/* ITU-R 601-2 luma. */
#define IMPULSE_RED 0.299f
#define IMPULSE_GREEN 0.587f
#define IMPULSE_BLUE 0.114f

static inline int32_t impulse_whole_luma(uint32_t red, uint32_t green, uint32_t blue) {
    return (int32_t)((299u * red + 587u * green + 114u * blue + 500u) / 1000u);
}

/* Value of a channel, 0..1, as the model's input. */
static inline model_input_t impulse_quantized(float value) {
#if IMPULSE_INPUT_IS_FLOAT
    return value;
#else
    /* value is not negative, so that adding a half and cutting off rounds halves away from zero. */
    int32_t stored = (int32_t)((double)(value / IMPULSE_INPUT_SCALE) + 0.5) + IMPULSE_INPUT_ZERO_POINT;
    if (stored < IMPULSE_INPUT_LOWEST) {
        stored = IMPULSE_INPUT_LOWEST;
    }
    return (model_input_t)(stored > IMPULSE_INPUT_LOWEST + 255 ? IMPULSE_INPUT_LOWEST + 255 : stored);
#endif
}

/* Write pixel `index` of the input. red, green, blue: 0..255. */
static inline void impulse_put_pixel(model_input_t *input, int32_t index, uint32_t red, uint32_t green, uint32_t blue) {
#if IMPULSE_CHANNELS == 1
    if (!IMPULSE_INPUT_IS_FLOAT && IMPULSE_IS_PLAIN) {
        input[index] = (model_input_t)(impulse_whole_luma(red, green, blue) + IMPULSE_INPUT_ZERO_POINT);
        return;
    }
    float luma = IMPULSE_RED * ((float)red / 255.0f) + IMPULSE_GREEN * ((float)green / 255.0f);
    input[index] = impulse_quantized(luma + IMPULSE_BLUE * ((float)blue / 255.0f));
#else
    model_input_t *pixel = input + 3 * index;
    if (!IMPULSE_INPUT_IS_FLOAT && IMPULSE_IS_PLAIN) {
        pixel[0] = (model_input_t)((int32_t)red + IMPULSE_INPUT_ZERO_POINT);
        pixel[1] = (model_input_t)((int32_t)green + IMPULSE_INPUT_ZERO_POINT);
        pixel[2] = (model_input_t)((int32_t)blue + IMPULSE_INPUT_ZERO_POINT);
        return;
    }
    pixel[0] = impulse_quantized((float)red / 255.0f);
    pixel[1] = impulse_quantized((float)green / 255.0f);
    pixel[2] = impulse_quantized((float)blue / 255.0f);
#endif
}

/* The real number that an output stands for. */
static inline float impulse_score(model_output_t value) {
#if IMPULSE_OUTPUT_IS_FLOAT
    return value;
#else
    return (float)((int32_t)value - IMPULSE_OUTPUT_ZERO_POINT) * IMPULSE_OUTPUT_SCALE;
#endif
}

#endif
