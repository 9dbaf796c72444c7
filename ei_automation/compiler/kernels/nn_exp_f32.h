/* e^x for floats, without libm.
 *
 * e^x = 2^(k / 32) * 2^(r / 32) with an integer k and r in -1/2..1/2: a table for k mod 32, a cubic polynomial for r,
 * all in double. At most 0.502 units in the last place off. The polynomial is that of expf in glibc since 2.27 (the
 * exponential of Arm's optimized routines), so that every result is the same float as there, up to results that lie
 * within 2^-52 of the middle between two floats, where glibc itself depends on the processor (fused multiply-add). */
#ifndef NN_EXP_F32_H
#define NN_EXP_F32_H

#include "nn_float.h"

NN_KERNEL float nn_exp_f32(float x) {
    /* 2^(i / 32) */
    static const double powers[32] = {
        1.0, 1.0218971486541166, 1.0442737824274138, 1.0671404006768237, 1.0905077326652577,
        1.1143867425958924, 1.1387886347566916, 1.1637248587775775, 1.189207115002721, 1.215247359980469,
        1.241857812073484, 1.2690509571917332, 1.2968395546510096, 1.3252366431597413, 1.3542555469368927,
        1.383909881963832, 1.4142135623730951, 1.4451808069770467, 1.4768261459394993, 1.5091644275934228,
        1.5422108254079407, 1.5759808451078865, 1.6104903319492543, 1.645755478153965, 1.681792830507429,
        1.718619298122478, 1.7562521603732995, 1.7947090750031072, 1.8340080864093424, 1.8741676341103,
        1.9152065613971474, 1.9571441241754002,
    };
    const double turns = (double)x * 46.16624130844683; /* 32 / ln 2 */
    const double middle = 6755399441055744.0;           /* 1.5 * 2^52: what is added to it is rounded to an integer */
    const double nearest = (turns + middle) - middle;
    const double r = turns - nearest;
    const int32_t k = (int32_t)(x > -104.0f && x < 89.0f ? nearest : 0);
    const double cubic = 1.6938359250920212e-06 * r + 0.00023459809789509004;
    const double polynomial = cubic * (r * r) + (0.021660849396613134 * r + 1.0);
    double power = powers[k & 31];
    uint64_t bits;
    if (!(x > -104.0f)) {
        return x < 0 ? 0.0f : x; /* too small, or no number */
    }
    if (x >= 89.0f) {
        return x * 3.0e38f; /* infinity */
    }
    memcpy(&bits, &power, sizeof bits);
    bits += (uint64_t)(int64_t)(k >> 5) << 52;
    memcpy(&power, &bits, sizeof bits);
    return (float)(polynomial * power);
}

#endif
