/* Of the standard's header, what a model uses; for compilers that come without a C library for bare metal. */
#ifndef HARNESS_STRING_H
#define HARNESS_STRING_H

#include <stddef.h>

void *memcpy(void *destination, const void *source, size_t count);
void *memmove(void *destination, const void *source, size_t count);
void *memset(void *destination, int value, size_t count);

#endif
