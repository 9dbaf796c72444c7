/* FOMO's cells into bounding boxes: the same boxes as Edge Impulse's inferencing SDK gives, peculiarities included.
 *
 * A cell is found in the label whose score reaches the threshold; cells of one label that touch become one box. */
#ifndef IMPULSE_BOXES_H
#define IMPULSE_BOXES_H

#include "values.h"

#define IMPULSE_CELLS (IMPULSE_GRID_WIDTH * IMPULSE_GRID_HEIGHT)
#define IMPULSE_MOST_BOXES (IMPULSE_CELLS * IMPULSE_LABELS)

/* In cells while boxes are made, in pixels of the input once they are done. */
typedef struct {
    int32_t x, y, width, height, label;
    float score;
} impulse_box;

/* Whether two boxes touch, corners included; then the first takes in the second. A box that is extended to the left
 * or upwards moves and keeps its size: the SDK's merging does so, and its users' thresholds were chosen with it. */
static int impulse_take_in(impulse_box *box, const impulse_box *other) {
    if (box->label != other->label || box->x + box->width < other->x || box->y + box->height < other->y ||
        box->x > other->x + other->width || box->y > other->y + other->height) {
        return 0;
    }
    int32_t right = other->x + other->width, bottom = other->y + other->height;
    box->x = other->x < box->x ? other->x : box->x;
    box->y = other->y < box->y ? other->y : box->y;
    box->width = right > box->x + box->width ? right - box->x : box->width;
    box->height = bottom > box->y + box->height ? bottom - box->y : box->height;
    box->score = other->score > box->score ? other->score : box->score;
    return 1;
}

/* Merge a box into the first of `boxes` that it touches; 0 where it touches none. */
static int impulse_merge(impulse_box *boxes, int32_t count, const impulse_box *other) {
    for (int32_t index = 0; index < count; index++) {
        if (impulse_take_in(&boxes[index], other)) {
            return 1;
        }
    }
    return 0;
}

/* Boxes of touching cells, in cells. */
static int32_t impulse_join_cells(const model_output_t *output, float threshold, impulse_box *boxes) {
    int32_t count = 0;
    for (int32_t cell = 0; cell < IMPULSE_CELLS; cell++) {
        for (int32_t label = 0; label < IMPULSE_LABELS; label++) {
            /* The first score of a cell is that of the background. */
            float score = impulse_score(output[cell * (IMPULSE_LABELS + 1) + 1 + label]);
            impulse_box one = {cell % IMPULSE_GRID_WIDTH, cell / IMPULSE_GRID_WIDTH, 1, 1, label, score};
            if (score >= threshold && !impulse_merge(boxes, count, &one)) {
                boxes[count++] = one;
            }
        }
    }
    return count;
}

/* The boxes of a model's output, in pixels of its input; gives their number.
 *
 * Boxes that have grown together are merged once more. As in the SDK a box is reported as it was when it was reached:
 * what it takes in later only keeps other boxes out. */
static int32_t impulse_find_boxes(const model_output_t *output, float threshold, impulse_box *found) {
    static impulse_box joined[IMPULSE_MOST_BOXES], kept[IMPULSE_MOST_BOXES];
    const int32_t across = IMPULSE_WIDTH / IMPULSE_GRID_WIDTH, down = IMPULSE_HEIGHT / IMPULSE_GRID_HEIGHT;
    int32_t joined_count = impulse_join_cells(output, threshold, joined), kept_count = 0, found_count = 0;
    for (int32_t index = 0; index < joined_count; index++) {
        const impulse_box *box = &joined[index];
        if (impulse_merge(kept, kept_count, box)) {
            continue;
        }
        kept[kept_count++] = *box;
        if (box->score != 0.0f) {
            impulse_box pixels = {box->x * across,   box->y * down, box->width * across,
                                  box->height * down, box->label,    box->score};
            found[found_count++] = pixels;
        }
    }
    return found_count;
}

#endif
