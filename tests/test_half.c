/* Claim: fp16 and bf16 codes convert to the float that they represent, and a float converts to the nearest code, ties
 * to even: all 65,536 codes of both types, every tie between two neighbours. */
#include "half.h"

#include <math.h>

#include "test.h"

/* A format described by its fields, decoded and rounded with ldexp and rint: nothing in common with half.h. */
typedef struct format {
    const char *name;
    int exponent_bits, fraction_bits;
    float (*to_float)(uint16_t);
    uint16_t (*from_float)(float);
} format;

static const format formats[] = {
    {"fp16", 5, 10, fp16_to_float, fp16_from_float},
    {"bf16", 8, 7, bf16_to_float, bf16_from_float},
};

static int bias(const format *type)
{
    return (1 << (type->exponent_bits - 1)) - 1;
}

static uint16_t infinity_code(const format *type)
{
    return (uint16_t)(((1 << type->exponent_bits) - 1) << type->fraction_bits);
}

static bool is_nan_code(const format *type, uint16_t code)
{
    return (code & 0x7fff) > infinity_code(type);
}

static double decode(const format *type, uint16_t code)
{
    int exponent = (code & 0x7fff) >> type->fraction_bits;
    int fraction = code & ((1 << type->fraction_bits) - 1);
    double sign = code & 0x8000 ? -1 : 1;
    if (is_nan_code(type, code))
        return NAN;
    if ((code & 0x7fff) == infinity_code(type))
        return sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias(type) - type->fraction_bits);
    return sign * ldexp(fraction + (1 << type->fraction_bits), exponent - bias(type) - type->fraction_bits);
}

/* The nearest representable value: a multiple of the spacing around it; rint rounds ties to even. */
static double round_to(const format *type, double value)
{
    int exponent;
    frexp(value, &exponent);
    int smallest = 1 - bias(type);
    int spacing = (exponent - 1 > smallest ? exponent - 1 : smallest) - type->fraction_bits;
    double rounded = ldexp(rint(ldexp(value, -spacing)), spacing);
    double limit = ldexp(1, bias(type) + 1);
    return fabs(rounded) >= limit ? copysign(INFINITY, value) : rounded;
}

static void run_decode(const void *argument)
{
    const format *type = argument;
    for (uint32_t code = 0; code < 0x10000; code++) {
        float value = type->to_float((uint16_t)code);
        double truth = decode(type, (uint16_t)code);
        check(isnan(truth) ? isnan(value) : value == truth, "code %04x: %g for %g", code, value, truth);
        check(!signbit(value) == !(code & 0x8000), "code %04x: sign", code);
    }
}

static void run_round_trip(const void *argument)
{
    const format *type = argument;
    for (uint32_t code = 0; code < 0x10000; code++) {
        uint16_t back = type->from_float(type->to_float((uint16_t)code));
        if (is_nan_code(type, (uint16_t)code))
            check(is_nan_code(type, back), "NaN %04x became %04x", code, back);
        else
            check(back == code, "code %04x became %04x", code, back);
    }
}

static void run_ties(const void *argument)
{
    const format *type = argument;
    for (uint32_t sign = 0; sign < 0x10000; sign += 0x8000) {
        for (uint16_t code = 0; code < infinity_code(type) - 1; code++) {
            float low = (float)decode(type, code), high = (float)decode(type, (uint16_t)(code + 1));
            float middle = low + (high - low) / 2, flip = sign ? -1.0f : 1.0f;
            uint16_t even = (uint16_t)(sign | (uint32_t)(code + (code & 1)));
            check(type->from_float(flip * middle) == even, "between %04x and the next: %04x for %04x", code,
                  type->from_float(flip * middle), even);
            check(type->from_float(flip * nextafterf(middle, 0)) == (sign | code), "just below the middle above %04x",
                  code);
            check(type->from_float(flip * nextafterf(middle, INFINITY)) == (sign | (uint32_t)(code + 1)),
                  "just above the middle above %04x", code);
        }
    }
}

static void run_overflow(const void *argument)
{
    const format *type = argument;
    uint16_t infinity = infinity_code(type), largest = (uint16_t)(infinity - 1);
    double top = decode(type, largest), spacing = top - decode(type, (uint16_t)(largest - 1));
    float border = (float)(top + spacing / 2);
    check(type->from_float(border) == infinity, "%g: infinity", border);
    check(type->from_float(nextafterf(border, 0)) == largest, "below %g: the largest number", border);
    check(type->from_float(-border) == (0x8000 | infinity), "%g: minus infinity", -border);
    check(type->from_float(INFINITY) == infinity && type->from_float(-INFINITY) == (0x8000 | infinity), "infinity");
    check(type->from_float(0x1.fffffep127f) == infinity, "the largest float");
}

static void run_nan(const void *argument)
{
    const format *type = argument;
    const uint32_t patterns[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0x7fbfffff, 0x7f801000, 0x7f80ffff, 0x7f810000};
    for (int i = 0; i < 7; i++) {
        for (uint32_t sign = 0; sign < 2; sign++) {
            uint16_t code = type->from_float(half_from_bits(patterns[i] | sign << 31));
            check(is_nan_code(type, code), "NaN %08x became %04x", patterns[i], code);
            check(code >> 15 == sign, "NaN %08x keeps its sign", patterns[i]);
        }
    }
    for (int round = 0; round < 100000; round++) {
        uint32_t bits = 0x7f800000 | (uint32_t)test_random();
        if (isnan(half_from_bits(bits)))
            check(is_nan_code(type, type->from_float(half_from_bits(bits))), "NaN %08x", bits);
    }
}

static void run_denormals(const void *argument)
{
    const format *type = argument;
    float smallest = (float)decode(type, 1);
    check(smallest > 0 && type->to_float(1) == smallest, "smallest %g", smallest);
    check(type->from_float(smallest) == 1 && type->from_float(-smallest) == 0x8001, "the smallest number");
    check(type->from_float(smallest / 2) == 0, "half of it: the tie goes to 0");
    check(type->from_float(-smallest / 2) == 0x8000, "half of it: the sign stays");
    check(type->from_float(smallest * 0.75f) == 1, "three quarters of it");
    check(type->from_float(smallest * 1.5f) == 2, "the tie goes to 2");
    check(type->from_float(0x1p-149f) == 0 && type->from_float(0.0f) == 0 && type->from_float(-0.0f) == 0x8000, "zero");
}

static void run_random(const void *argument)
{
    const format *type = argument;
    for (int round = 0; round < 1000000; round++) {
        float value = half_from_bits((uint32_t)test_random());
        if (round & 1) /* every other one within the range of fp16 */
            value = (float)ldexp(test_normal(), (int)test_below(45) - 28);
        if (isnan(value))
            continue;
        double truth = round_to(type, value), rounded = decode(type, type->from_float(value));
        check(rounded == truth && !signbit(rounded) == !signbit(value), "%a: %a for %a", value, rounded, truth);
    }
}

/* A second opinion: the compiler's own type. */
static void run_compiler(const void *unused)
{
    (void)unused;
#ifdef __FLT16_MANT_DIG__
    for (uint32_t code = 0; code < 0x10000; code++) {
        _Float16 theirs;
        uint16_t bits = (uint16_t)code;
        memcpy(&theirs, &bits, sizeof bits);
        float ours = fp16_to_float(bits);
        check(isnan(ours) ? isnan((float)theirs) : ours == (float)theirs, "code %04x: %g", code, ours);
    }
    for (int round = 0; round < 1000000; round++) {
        float value = half_from_bits((uint32_t)test_random());
        _Float16 theirs = (_Float16)value;
        uint16_t bits;
        memcpy(&bits, &theirs, sizeof bits);
        if (!isnan(value))
            check(fp16_from_float(value) == bits, "%a: %04x for %04x", value, fp16_from_float(value), bits);
    }
#else
    test_skip("this compiler has no _Float16");
#endif
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const void *);
    } cases[] = {
        {"decodes_every_code", run_decode}, {"round_trip_of_every_code", run_round_trip},
        {"every_tie", run_ties},            {"overflow", run_overflow},
        {"nan_stays_nan", run_nan},         {"denormals", run_denormals},
        {"random_floats", run_random},
    };
    test_begin(argc, argv, "a float converts to the nearest half, and a half to the float that it represents");
    for (int f = 0; f < 2; f++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            test_add(cases[i].run, &formats[f], "%s_%s", formats[f].name, cases[i].name);
    }
    test_add(run_compiler, NULL, "fp16_agrees_with_the_compiler");
    return test_end();
}
