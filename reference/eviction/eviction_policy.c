/* The table of policies. */
#include "eviction_policy.h"

#include <string.h>

#include "exact_math_internal.h"

/* One line for each policy, in the order in which tools list them: those that score nothing, those that score the
 * current step, those with a history or a window, those for teaching. */
#define POLICIES(X) \
    X(full) \
    X(random) \
    X(sink_window) \
    X(longflow) \
    X(current_mass) \
    X(h2o) \
    X(vatp) \
    X(rkv) \
    X(snapkv) \
    X(exact_deletion) \
    X(longflow_l2)

#define DECLARE(name) extern const eviction_policy policy_##name;
#define ENTRY(name) &policy_##name,
POLICIES(DECLARE)
const eviction_policy *const eviction_policies[] = {POLICIES(ENTRY)};
const uint32_t num_eviction_policies = sizeof eviction_policies / sizeof eviction_policies[0];

const eviction_policy *eviction_policy_from_name(const char *name)
{
    for (uint32_t i = 0; i < num_eviction_policies; i++)
        if (strcmp(eviction_policies[i]->name, name) == 0)
            return eviction_policies[i];
    return NULL;
}

eviction_range eviction_all(const eviction_view *view)
{
    (void)view;
    return (eviction_range){0, UINT32_MAX};
}

eviction_range eviction_between(const eviction_view *view, uint32_t num_sinks, uint32_t num_recent)
{
    const token_list *tokens = view->tokens;
    uint32_t length = tokens->num_tokens ? tokens->positions[tokens->num_tokens - 1] + 1 : 0;
    return (eviction_range){num_sinks, length > num_recent ? length - num_recent : 0};
}
