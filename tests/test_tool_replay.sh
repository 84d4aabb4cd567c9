#!/bin/bash
# Claim: treeattn replay's sums are those of the trace, paging costs what it must, no block leaks, and attention along
# the way agrees with the definition. With the DeFT traces beside the source, its sums are paper_workloads.txt exactly.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
traces=$TREEATTN_SOURCE_DIR/../shared/traces

# By hand from tests/tool_small.ttr: node n has min(k, END) - START + 1 tokens at iteration k, until its subtree ends.
#   k        1  2  3  4  5  6  7  8  9
#   queries  3  2  2  2  3  3  1  1  1      18
#   U       24 25 27 29 32 35 28 29 30     259
#   S       66 46 48 50 78 81 28 29 30     456
run replay "$small" --tree 0 --block-tokens 1 --format csv
expect "small: status" 0 "$status"
expect "small: two lines" 2 "$(wc -l <"$work/out")"
expect "small: header" iterations,queries_sum,unique_tokens_sum,path_tokens_sum,peak_blocks,leaked_blocks \
    "$(head -n 1 "$work/out" | cut -d , -f 1-6)"
expect "small: sums" 9,18,259,456,35,0 "$(tail -n 1 "$work/out" | cut -d , -f 1-6)"
expect "small: forks and prunes" "5 6" "$(column forks) $(column prunes)"

run replay "$small" --block-tokens 16 --format csv
expect "paged: lengths stay" 456 "$(column query_lengths_sum)"
expect "paged: copies are filled, the rest of a block is not" 1 \
    "$(($(column filled_tokens_sum) > 259 && $(column filled_tokens_sum) < $(column unique_tokens_sum)))"
expect "paged: whole blocks" 0 "$(($(column unique_tokens_sum) % 16 + $(column path_tokens_sum) % 16))"
expect "paged: never less" 1 "$(($(column unique_tokens_sum) >= 259 && $(column path_tokens_sum) >= 456))"
expect "paged: copies on write" 3 "$(column copies)"
expect "paged: no leak" 0 "$(column leaked_blocks)"

for strategy in flash flash_decoding radix tree_mask node node_chunk flatten cost; do
    run replay "$small" --attention $strategy --format csv --heads 4/2 --head-dim 32
    expect "$strategy: status, agreement" "0 yes 9" "$status $(column within_limit) $(column attention_iterations)"
    expect "$strategy: logical_bytes are those of S" $((456 * 2 * 2 * 32 * 4)) "$(column logical_bytes)"
    expect "$strategy: dram_bytes are not made up" "" "$(column dram_bytes)"
done
run replay "$small" --attention node --every 4 --storage bf16 --format csv
expect "bf16, every 4th: agreement" "yes 2" "$(column within_limit) $(column attention_iterations)"
run replay "$small" --attention node --format csv --heads 4/2 --head-dim 32 --block-tokens 1
expect "node: plan_bytes are those of U" $((259 * 2 * 2 * 32 * 4)) "$(column plan_bytes)"

expect_error "pool too small" 1 'pool of 2 blocks of 16 tokens is too small.*nothing was lost' replay "$small" --blocks 2
run replay "$small" --max-iterations 3 --format csv
expect "stops early" 3 "$(column iterations)"
run replay "$small" --prompt 100 --block-tokens 1 --format csv
expect "another prompt" $((259 + 9 * 79)) "$(column unique_tokens_sum)"

if [ ! -f "$traces/paper_workloads.txt" ]; then
    for name in "the paper's sums" "sorting t0" "a real draft tree" "one draft step"; do
        skip "$name" "no recorded traces in ../shared/traces"
    done
    finish
    exit
fi
while read -r _ workload name _ iterations unique paths queries peak; do
    case $workload in
    fewshot) set -- fewshot_rule.ttr --tree "${name#b=}" ;;
    spec) set -- spec_accept.ttr --record apps0-len6000 --star "${name#t=}" ;;
    *) set -- "reason_$workload.ttr" --tree "${name#t}" ;;
    esac
    [[ $name != t=128 && $name != t=256 ]] || continue # seconds each; t=64 is the same code
    run replay "$traces/$1" "${@:2}" --block-tokens 1 --format csv
    expect "paper $workload $name" "$iterations,$queries,$unique,$paths,0,$peak" \
        "$(tail -n 1 "$work/out" | cut -d , -f 1-4,6,8)"
done <<<"$(grep '^ref ' "$traces/paper_workloads.txt")"
run replay "$traces/reason_sorting.ttr" --attention flatten --every 900 --format csv
expect "sorting t0: attention agrees" "0 yes 4" "$status $(column within_limit) $(column attention_iterations)"
run replay "$traces/spec_accept.ttr" --record apps0 --draft "$traces/spec_draft.ttr:64" --max-iterations 30 --format csv \
    --attention cost --every 10
expect "a real draft tree" "0 30 1920 0 yes" \
    "$status $(column iterations) $(column queries_sum) $(column leaked_blocks) $(column within_limit)"
run replay "$traces/spec_draft.ttr" --tree 32 --prompt 500 --format csv --block-tokens 1
expect "one draft step" "1 32 532" "$(column iterations) $(column queries_sum) $(column unique_tokens_sum)"
finish
