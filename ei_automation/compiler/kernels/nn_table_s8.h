/* Any int8 function of one int8 value (LOGISTIC, HARD_SWISH, RELU, requantization ...) as a table of its 256 results. */
#ifndef NN_TABLE_S8_H
#define NN_TABLE_S8_H

#include "nn_types.h"

typedef struct {
    int32_t row_bytes;
    const int8_t *table; /* result for -128, -127, ... 127 */
} nn_table_s8_t;

NN_KERNEL void nn_table_s8(const nn_table_s8_t *op, const nn_view *in, nn_view out, void *scratch, int32_t first,
                           int32_t last) {
    const int8_t *table = op->table + 128;
    const int32_t row_bytes = op->row_bytes;
    (void)scratch;
    for (int32_t y = first; y < last; ++y) {
        const int8_t *from = nn_row(&in[0], y, row_bytes);
        int8_t *to = nn_row(&out, y, row_bytes);
        for (int32_t i = 0; i < row_bytes; ++i) {
            to[i] = table[from[i]];
        }
    }
}

#endif
