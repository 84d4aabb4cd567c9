#!/bin/bash
# Claim: treeattn evict gives the tokens, blocks, bytes, errors and strips that tests/golden holds, on every machine and
# every run; its counts agree with those of replay; bad usage and input beyond the limits are refused by name.
# `tests/test_tool_evict.sh --write` puts the present output there.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
golden=$TREEATTN_SOURCE_DIR/tests/golden
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
examples=$TREEATTN_SOURCE_DIR/docs/examples/traces

# Without the last column: it is of the host's clock.
no_clock() { sed -e 's/,[^,]*$//' "$@"; }
no_clock_text() { sed -E 's/^([a-z0-9_]+ .*[^ ]) +[^ ]+$/\1/'; }
golden_runs() {
    run evict --stream topics_slow --tokens 200 --budget 40 --format csv
    no_clock "$work/out"
    run evict --trace "$examples/reason.ttr" --scope mask --budget 50% --format csv
    no_clock "$work/out"
    run evict --trace "$examples/accept.ttr" --draft "$examples/draft.ttr:8" --scope mask --budget 30 --compact --format csv
    no_clock "$work/out"
    run evict --game --scope vote --budget 64 --heads 2/1 --head-dim 16 --policy random --show
    sed -e '/^policy/,/^$/s/ *[^ ]*$//' "$work/out"
}
golden_runs >"$work/golden"
if [ "${1:-}" = --write ]; then cp "$work/golden" "$golden/evict.txt"; fi
expect "the golden output" "$(cat "$golden/evict.txt")" "$(cat "$work/golden")"

# Every policy of the library is run, under the names of --policy and of its error message.
run evict --help
choices=$(sed -n 's/^ *--policy \([^ ]*\).*/\1/p' "$work/out" | tr '|' ' ')
run evict --stream topics --tokens 30 --format csv
expect "all policies" "$choices" "$(no_clock "$work/out" | cut -d, -f1 | sed 1d | paste -sd ' ') all"
run evict --game --policy least-recent
expect "the message names them" "$choices" "$(sed 's/.*expected \(.*\) or all,.*/\1 all/; s/,//g' "$work/err")"
run evict --stream none
run evict --help
expect "all streams" "$(sed -n 's/^ *--stream \([^ ]*\).*/\1/p' "$work/out" | sed 's/|/, /g')" \
    "$("$TREEATTN_BIN" evict --stream none 2>&1 >/dev/null | sed 's/.*expected one of \(.*\), got.*/\1/')"

# The full cache sees the tokens that a replay counts.
for trace in "$small" "$examples/reason.ttr" "$examples/accept.ttr" "$examples/draft.ttr"; do
    name=${trace##*/}
    run replay "$trace" --format csv
    paths=$(column path_tokens_sum) lengths=$(column query_lengths_sum) queries=$(column queries_sum) peak=$(column peak_blocks)
    run evict --trace "$trace" --policy full --format csv
    expect "$name: queries" "$queries" "$(column queries)"
    expect "$name: peak blocks" "$peak" "$(column peak_blocks)"
    expect "$name: tokens" "$(awk -v l="$lengths" -v q="$queries" 'BEGIN { printf "%.1f", l / q }')" "$(column kept_tokens)"
    expect "$name: bytes of per-branch reading" 1 \
        "$(awk -v l="$lengths" -v s="$(column steps)" -v b="$(column branch_bytes)" 'BEGIN { print int(l * 512 / s) == b }')"
    expect "$name: no error" 0 "$(column error_max | sed 's/0.0000/0/')"
    [ "$paths" -ge "$lengths" ] || fail "$name" "a path is shorter than its tokens"
    for scope in private mask vote; do
        run evict --trace "$trace" --scope $scope --budget 100% --format csv
        expect "$name, $scope: a budget that is never reached" "0,0,0,0" \
            "$status,$(awk -F, 'NR > 1 { evicted += $12; freed += $16; compared += $10 } END { print evicted "," freed "," compared }' "$work/out")"
    done
done

# At one position for each character, a branch has as many marks as it keeps tokens.
run evict --stream topics --tokens 60 --budget 17 --policy longflow --show
strip=$(sed -n 's/^branch 0 *//p' "$work/out")
expect "a strip: a character for each position" 60 "${#strip}"
expect "a strip: as many marks as tokens" 17 "$(tr -cd '#=' <<<"$strip" | wc -c)"
expect "fits the width of a screen" 0 "$(awk 'length > 80' "$work/out" | wc -l)"
run evict --stream topics --tokens 300 --budget 20 --policy sink_window --show --step 200
expect "sinks and window" "$(printf '#%.0s' 1)$(printf '.%.0s' {1..45})" "$(sed -n 's/^branch 0 *\(.\{46\}\).*/\1/p' "$work/out")"
run evict --game --policy exact_deletion --budget 1 --show
expect "the longest name of a policy" 0 "$(awk 'length > 80' "$work/out" | wc -l)"
run evict --game --policy sink_window --budget 100 --show
expect "the widest screen" 0 "$(awk 'length > 80' "$work/out" | wc -l)"
expect_match "branches beyond the screen are counted" '^and 45 more branches$' "$work/out"
expect_match "a long prefix is named" '^After up to [0-9]+ queries the branch is above its budget: it inherited more.$' "$work/out"

for share in 1% 51% 100%; do # of 30 tokens, rounded up
    run evict --stream topics --tokens 30 --policy full --budget $share --format csv
    expect "budget $share" $(((30 * ${share%\%} + 99) / 100)) "$(column budget)"
done

expect_error "no source" 2 'expected one of --trace FILE, --stream NAME and --game' evict
expect_error "two sources" 2 'expected one of --trace FILE, --stream NAME and --game' evict --game --stream topics
expect_error "stream" 2 "--stream: expected one of stationary, .*, got 'fast'" evict --stream fast
expect_error "policy" 2 "--policy: expected full, .* or all, got 'lru'" evict --game --policy lru
expect_error "scope" 2 "--scope: expected private, mask or vote, got 'all'" evict --game --scope all
for budget in 0 0% 101% x 5x 10%% -1 '' 9999999999; do
    expect_error "budget '$budget'" 2 "--budget: expected tokens, .* got '$budget'" evict --game --budget="$budget"
done
expect_error "pins" 2 "--budget: expected at least 12 tokens, the sum of --sinks and --recent; got 10" \
    evict --game --budget 10 --sinks 4 --recent 8
expect_error "pins of a policy" 2 "--budget: sink_window protects more than 10 tokens with --sinks 5 and --recent 0" \
    evict --game --budget 10 --sinks 5
expect_error "strips of all policies" 2 "--show: works only with one --policy" evict --game --show
expect_error "strips in csv" 2 "--show: works only with --format text" evict --game --policy h2o --show --format csv
expect_error "a step of nothing" 2 "--step: works only with --show" evict --game --step 3
expect_error "a step beyond the end" 2 "--step: expected a whole number from 1 to 95, got '96'" \
    evict --game --policy h2o --show --step 96
for option in '--tree 0' '--record r' '--star 3' '--draft x:1' '--max-iterations 3'; do
    # shellcheck disable=SC2086 # an option and its value
    expect_error "$option without a trace" 2 "${option% *}: works only with --trace" evict --game $option
done
expect_error "tokens of a trace" 2 "--tokens: works only with --stream" evict --trace "$small" --tokens 3
expect_error "prompt of the game" 2 "--prompt: works only with --trace or --stream" evict --game --prompt 3
expect_error "no such file" 2 "none.ttr: No such file or directory" evict --trace "$work/none.ttr"
expect_error "work: the full cache twice" 2 \
    'attention over 400020000 tokens in 20000 queries \(the full cache, and 1 policy\), with 8 heads of 32, takes 102406 million steps, more than --max-work 20000$' \
    evict --stream topics --tokens 20000 --policy full
expect_error "work: under a budget" 2 'attention over 202024950 tokens in 20000 queries .* takes 51719 million steps' \
    evict --stream topics --tokens 20000 --policy longflow --budget 100
expect_error "work: with an interval and a window" 2 'attention over 204827505 tokens in 20000 queries .* takes 52436 million steps' \
    evict --stream topics --tokens 20000 --policy rkv --budget 100
expect_error "memory" 2 '2 forests of [0-9]+ blocks with 8 heads of 1024 needs [0-9]+ MiB of memory, more than --max-memory 512' \
    evict --stream topics --tokens 20000 --policy full --head-dim 1024 --max-work 4000000
finish
