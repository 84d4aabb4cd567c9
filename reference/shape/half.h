/* half: fp16 and bf16 as uint16_t. Conversion to float is exact, conversion from float rounds to nearest even; NaN
 * stays NaN (quiet), overflow becomes infinity, denormals are kept. */
#ifndef HALF_H
#define HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t half_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float bf16_to_float(uint16_t code) { return half_from_bits((uint32_t)code << 16); }

static inline uint16_t bf16_from_float(float value)
{
    uint32_t bits = half_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* NaN: stays NaN for any low bits */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float fp16_to_float(uint16_t code)
{
    uint32_t sign = (uint32_t)(code & 0x8000u) << 16;
    uint32_t exponent = code >> 10 & 0x1f, fraction = code & 0x3ff;
    if (exponent == 31) /* infinity, or NaN made quiet */
        return half_from_bits(sign | 0x7f800000u | (fraction ? 0x400000u | fraction << 13 : 0));
    if (exponent)
        return half_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float magnitude = (float)fraction * 5.9604644775390625e-8f; /* 2^-24: zero or denormal, exact */
    return half_from_bits(sign | half_bits(magnitude));
}

static inline uint16_t fp16_from_float(float value)
{
    uint32_t bits = half_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000u) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude >= 0x38800000u) /* normal: rebias, round to nearest even */
        return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfff + (magnitude >> 13 & 1)) >> 13));
    /* denormal: adding 0.5 leaves the value in the low bits of the sum, rounded to 2^-24 */
    return (uint16_t)(sign | (half_bits(half_from_bits(magnitude) + 0.5f) - half_bits(0.5f)));
}

#endif
