/* The oracle's verdict as a test case's, and arrays between guard zones. */
#include "compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "test.h"

enum { GUARD_FLOATS = 64 };
static const uint32_t guard_bits = 0x7fc0dead;   /* a NaN of its own in the zones */
static const uint32_t prefill_bits = 0x7fc0beef; /* and another in data */

double check_attention(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u,
                       const char *what)
{
    verdict v = attention_verdict(out, lse, truth, u);
    check(v.text[0] == '\0', "%s: %s", what, v.text);
    return v.worst;
}

void tally_attention(tally *total, const float *out, const float *lse, const attention_truth *truth,
                     const roundoffs *u)
{
    comparison in_out = compare_out(out, truth, u), in_lse = compare_lse(lse, truth, u);
    mean_comparison mean_out = compare_mean_out(out, truth, u), mean_lse = compare_mean_lse(lse, truth, u);
    total->num_runs++;
    total->num_bad += in_out.num_bad + in_lse.num_bad + mean_out.num_bad + mean_lse.num_bad > 0;
    total->out = fmax(total->out, in_out.worst);
    total->lse = fmax(total->lse, in_lse.worst);
    total->mean_out = fmax(total->mean_out, mean_out.worst);
    total->mean_lse = fmax(total->mean_lse, mean_lse.worst);
}

void check_same_bits(const float *a, const float *b, uint64_t count, const char *what)
{
    for (uint64_t i = 0; i < count; i++)
        check(half_bits(a[i]) == half_bits(b[i]), "%s: element %llu: %.9g and %.9g", what, (unsigned long long)i, a[i],
              b[i]);
}

guarded guarded_create(uint64_t count)
{
    guarded array = {NULL, count, calloc(count + 2 * GUARD_FLOATS, sizeof(float))};
    check(array.storage, "%llu floats of memory", (unsigned long long)count);
    array.data = array.storage + GUARD_FLOATS;
    for (uint64_t i = 0; i < count + 2 * GUARD_FLOATS; i++) {
        bool zone = i < GUARD_FLOATS || i >= count + GUARD_FLOATS;
        memcpy(&array.storage[i], zone ? &guard_bits : &prefill_bits, sizeof guard_bits);
    }
    return array;
}

static bool all_bits(const float *data, uint64_t count, uint32_t bits)
{
    for (uint64_t i = 0; i < count; i++) {
        if (half_bits(data[i]) != bits)
            return false;
    }
    return true;
}

void guarded_check(const guarded *array, const char *what)
{
    check(all_bits(array->storage, GUARD_FLOATS, guard_bits), "%s: nothing is written before the array", what);
    check(all_bits(array->data + array->count, GUARD_FLOATS, guard_bits), "%s: nothing is written after the array",
          what);
}

bool guarded_untouched(const guarded *array)
{
    return all_bits(array->data, array->count, prefill_bits);
}

void guarded_destroy(guarded *array)
{
    free(array->storage);
    memset(array, 0, sizeof *array);
}
