/* The part of the C library that a float32 model's code uses; the compiler's runtime has the functions. */
#ifndef EIAUTO_MATH_H
#define EIAUTO_MATH_H

#define INFINITY __builtin_inff()

float ceilf(float value);
float expf(float value);
float fabsf(float value);
float floorf(float value);
float fmaxf(float one, float other);
float fminf(float one, float other);
float logf(float value);
float roundf(float value);
float sqrtf(float value);
float truncf(float value);

#endif
