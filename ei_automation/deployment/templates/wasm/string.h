/* The part of the C library that a model's code uses; the compiler's runtime has the functions. */
#ifndef EIAUTO_STRING_H
#define EIAUTO_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *one, const void *other, size_t count);

#endif
