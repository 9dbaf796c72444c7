/* Around a model that is run in an emulator: hands it the rows of an image that lies in memory as a whole, as a
 * camera's driver would. Neither its bytes nor its instructions are the model's, and neither is counted. */
#include <stdint.h>

#ifdef HARNESS_ROW_BYTES
__attribute__((section(".harness.read_row"), used)) int harness_read_row(void *image, int row, uint8_t *destination) {
    const uint8_t *source = (const uint8_t *)image + (int32_t)row * HARNESS_ROW_BYTES;
    for (int32_t i = 0; i < HARNESS_ROW_BYTES; i++) {
        ((volatile uint8_t *)destination)[i] = source[i]; /* volatile: no call of memcpy, which is counted */
    }
    return 0;
}
#endif
