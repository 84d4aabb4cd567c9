#!/bin/bash
# Claim: treeattn step's running state, its merge of two halves and the two-pass definition end with the same numbers.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"

for tokens in 1 2 3 8 100; do
    for seed in 1 2 5; do
        run step --tokens $tokens --seed $seed --format csv
        # m, l and out of the last absorb, of merge and of two_passes: within the last digit that is printed
        expect "tokens $tokens, seed $seed" "$tokens same" "$(awk -F, '
            $1 == "absorb" { count++; for (i = 5; i <= 11; i++) last[i] = $i }
            $1 == "merge" || $1 == "two_passes" {
                others++
                for (i = 5; i <= 11; i++) if (i != 7 && ($i - last[i] > 2e-6 || last[i] - $i > 2e-6)) bad = 1
            }
            END { print count, others == 2 && !bad ? "same" : "different" }' "$work/out")"
    done
done
run step --format csv
expect "m never falls" 0 "$(awk -F, '$1 == "absorb" { if (n++ && $5 < m) bad++; m = $5 } END { print bad + 0 }' "$work/out")"
expect "the example rescales" 1 "$(awk -F, '$1 == "absorb" && $7 < 1 { n++ } END { print (n > 2) }' "$work/out")"
run step
cp "$work/out" "$work/first"
run step --wait
expect "--wait does not wait off a terminal" "$(cat "$work/first")" "$(cat "$work/out")"
finish
