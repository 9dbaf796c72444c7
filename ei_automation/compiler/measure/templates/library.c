/* What a C library gives a model: copying and filling memory. Small and plain, the same for every compiler, so that
 * two of them are compared by the code they make of the model. The linker keeps only what is called. */
#include <stddef.h>
#include <stdint.h>

/* A compiler must not see that these loops copy memory, and call what it is compiling. */
#if defined(__clang__)
#define LIBRARY(name) __attribute__((section(".library." #name), no_builtin("memcpy", "memmove", "memset")))
#else
#define LIBRARY(name) __attribute__((section(".library." #name), optimize("no-tree-loop-distribute-patterns")))
#endif

/* An access of four bytes at any address; cores before ARMv7 take it apart. */
typedef struct __attribute__((packed, may_alias)) {
    uint32_t value;
} word;

LIBRARY(memcpy) void *memcpy(void *restrict destination, const void *restrict source, size_t count) {
    uint8_t *to = (uint8_t *)destination;
    const uint8_t *from = (const uint8_t *)source;
#if defined(__ARM_FEATURE_UNALIGNED)
    for (; count >= 16; count -= 16, to += 16, from += 16) {
        uint32_t a = ((const word *)from)[0].value, b = ((const word *)from)[1].value;
        uint32_t c = ((const word *)from)[2].value, d = ((const word *)from)[3].value;
        ((word *)to)[0].value = a;
        ((word *)to)[1].value = b;
        ((word *)to)[2].value = c;
        ((word *)to)[3].value = d;
    }
    for (; count >= 4; count -= 4, to += 4, from += 4) {
        ((word *)to)->value = ((const word *)from)->value;
    }
#endif
    while (count-- > 0) {
        *to++ = *from++;
    }
    return destination;
}

LIBRARY(memmove) void *memmove(void *destination, const void *source, size_t count) {
    uint8_t *to = (uint8_t *)destination;
    const uint8_t *from = (const uint8_t *)source;
    if (to < from || to >= from + count) {
        return memcpy(destination, source, count);
    }
    while (count-- > 0) {
        to[count] = from[count];
    }
    return destination;
}

LIBRARY(memset) void *memset(void *destination, int value, size_t count) {
    uint8_t *to = (uint8_t *)destination;
#if defined(__ARM_FEATURE_UNALIGNED)
    uint32_t four = (uint8_t)value * 0x01010101u;
    for (; count >= 16; count -= 16, to += 16) {
        ((word *)to)[0].value = four;
        ((word *)to)[1].value = four;
        ((word *)to)[2].value = four;
        ((word *)to)[3].value = four;
    }
    for (; count >= 4; count -= 4, to += 4) {
        ((word *)to)->value = four;
    }
#endif
    while (count-- > 0) {
        *to++ = (uint8_t)value;
    }
    return destination;
}

/* The names under which compilers call them (run-time ABI for the Arm architecture, section 4.3.4). */
#define ALIAS(name, of, ...) __attribute__((alias(#of))) void name(__VA_ARGS__)
ALIAS(__aeabi_memcpy, memcpy, void *, const void *, size_t);
ALIAS(__aeabi_memcpy4, memcpy, void *, const void *, size_t);
ALIAS(__aeabi_memcpy8, memcpy, void *, const void *, size_t);
ALIAS(__aeabi_memmove, memmove, void *, const void *, size_t);
ALIAS(__aeabi_memmove4, memmove, void *, const void *, size_t);
ALIAS(__aeabi_memmove8, memmove, void *, const void *, size_t);

LIBRARY(aeabi_memset) void __aeabi_memset(void *destination, size_t count, int value) {
    memset(destination, value, count);
}
ALIAS(__aeabi_memset4, __aeabi_memset, void *, size_t, int);
ALIAS(__aeabi_memset8, __aeabi_memset, void *, size_t, int);

LIBRARY(aeabi_memclr) void __aeabi_memclr(void *destination, size_t count) {
    memset(destination, 0, count);
}
ALIAS(__aeabi_memclr4, __aeabi_memclr, void *, size_t);
ALIAS(__aeabi_memclr8, __aeabi_memclr, void *, size_t);
