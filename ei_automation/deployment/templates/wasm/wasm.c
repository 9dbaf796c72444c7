/* A model as a WebAssembly module without imports. Pointers are offsets in its memory, which grows with the picture. */
#include "boxes.h"
#include "resize.h"

#define EXPORTED(name) __attribute__((export_name(name)))
#define PAGE_BYTES 65536u

extern uint8_t __heap_base;

static uint8_t pixels[IMPULSE_PIXELS * 3];
static model_output_t output[MODEL_OUTPUT_COUNT];
static float scores[MODEL_OUTPUT_COUNT];
static impulse_box boxes[IMPULSE_MOST_BOXES];

/* Room for a picture of width x height, four bytes a pixel: red, green, blue, opacity. 0 where there is none. */
EXPORTED("source")
uint8_t *source(int32_t width, int32_t height) {
    uint64_t end = (uint64_t)(uintptr_t)&__heap_base + 4 * (uint64_t)(uint32_t)width * (uint32_t)height;
    uint64_t pages = (end + PAGE_BYTES - 1) / PAGE_BYTES, present = __builtin_wasm_memory_size(0);
    if (width < 1 || height < 1 || pages > 65536) {
        return 0;
    }
    if (pages > present && __builtin_wasm_memory_grow(0, pages - present) == SIZE_MAX) {
        return 0;
    }
    return &__heap_base;
}

/* Bring the picture at `source` to the model's size, into `pixels`. */
EXPORTED("fit")
void fit(int32_t width, int32_t height) {
    impulse_picture picture = {&__heap_base, width, width, height};
    impulse_fit(&picture, pixels);
}

/* The picture that the model sees, three bytes a pixel. */
EXPORTED("pixels")
uint8_t *pixels_place(void) { return pixels; }

/* The model's input and output tensors. */
EXPORTED("input")
model_input_t *input_place(void) { return model_input(); }

EXPORTED("output")
model_output_t *output_place(void) { return output; }

/* Run the model on what is in its input; `output` and `scores` have the result. */
EXPORTED("invoke")
int32_t invoke(void) {
    int32_t state = model_invoke(model_input(), output);
    for (int32_t index = 0; index < MODEL_OUTPUT_COUNT; index++) {
        scores[index] = impulse_score(output[index]);
    }
    return state;
}

/* Run the model on `pixels`. */
EXPORTED("classify")
int32_t classify(void) {
    for (int32_t index = 0; index < IMPULSE_PIXELS; index++) {
        impulse_put_pixel(model_input(), index, pixels[3 * index], pixels[3 * index + 1], pixels[3 * index + 2]);
    }
    return invoke();
}

/* float32, one for each output. */
EXPORTED("scores")
float *scores_place(void) { return scores; }

/* FOMO: find boxes in the output; gives their number. Each is x, y, width, height, label (int32) and score (float32). */
EXPORTED("find_boxes")
int32_t find_boxes(float threshold) { return IMPULSE_IS_FOMO ? impulse_find_boxes(output, threshold, boxes) : 0; }

EXPORTED("boxes")
impulse_box *boxes_place(void) { return boxes; }
