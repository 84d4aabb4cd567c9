#!/bin/bash
# Claim: bad usage and bad input end with status 2 and one line that says what was expected and where.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
examples=$TREEATTN_SOURCE_DIR/docs/examples/traces

expect_error "unknown verb" 2 "unknown verb 'fly'; see 'treeattn --help'" fly
for verb in demo think replay plan evict step attend bench tune doctor; do
    expect_error "$verb: unknown option" 2 "unknown option '--colour'; see 'treeattn $verb --help'" $verb --colour
    expect_error "$verb: unknown format" 2 "--format: expected one of .* got 'xml'" $verb --format xml
    expect_error "$verb: value missing" 2 "--format: expected a value after it" $verb --format
done
expect_error "demo has no csv" 2 "--format: expected one of 'text json', got 'csv'" demo --format csv
expect_error "operand missing" 2 "replay: expected FILE.ttr" replay
expect_error "second operand" 2 "takes one FILE.ttr, got 'more' too" replay "$small" more
expect_error "operand not wanted" 2 "step: takes no operand, got 'more'" step more
expect_error "flag with a value" 2 "--wait: takes no value" step --wait=1
expect_error "count is no number" 2 "--tokens: expected a whole number from 1 to 4096, got '1x'" step --tokens 1x
expect_error "count is too small" 2 "--tokens: expected .* got '0'" step --tokens=0
expect_error "count is huge" 2 "--tokens: expected .* got '99999999999999999999'" step --tokens 99999999999999999999
expect_error "count is negative" 2 "--every: expected .* got '-1'" replay "$small" --attention node --every -1
expect_error "block_tokens" 2 "power of two from 1 to 256, got 12" replay "$small" --block-tokens 12
expect_error "heads do not divide" 2 "--heads: expected .* got '8/3'" replay "$small" --attention node --heads 8/3
expect_error "heads without KV heads" 2 "--heads: expected .* got '8'" plan --tree '1,2 / 3,4' --heads 8
expect_error "head_dim 0" 2 "--head-dim: expected .* got '0'" replay "$small" --attention node --head-dim 0
expect_error "storage" 2 "--storage: expected fp32, fp16 or bf16, got 'int8'" replay "$small" --storage int8
expect_error "strategy" 2 "--attention: expected flash, .* got 'fast'" replay "$small" --attention fast
expect_error "tree is not there" 2 "expected a tree of ordinal 7" replay "$small" --tree 7
expect_error "levels without tokens" 2 "--tree: expected 'NODES / TOKENS'" plan --tree 1,2
expect_error "levels: not numbers" 2 "--tree, nodes, column 3: " plan --tree '1,x / 3,4'
expect_error "levels: columns are those of the text" 2 "--tree, nodes, column 6: " plan --tree ' 1 , x / 3,4'
expect_error "levels: more tokens than nodes" 2 "--tree, tokens, column 12: " plan --tree '1,2 / 3,4,5'
expect_error "levels: more lengths than nodes" 2 "--tree, tokens, column 14: .*as many lengths" plan --tree '1,2 / 3, 4|5|6'
expect_error "levels: bar between nodes" 2 "--tree, nodes, column 2: " plan --tree '1|2 / 3'
for option in --ordinal --record --star --draft --prompt; do
    expect_error "levels take no $option" 2 "$option: works only with --trace, not with --tree" plan --tree '1,2 / 3,4' $option 1
done
for option in --record --star --draft; do
    expect_error "a reason file takes no $option" 2 "$option: works only with an accept file, and $small is a reason file" \
        replay "$small" $option 1
    expect_error "a draft file takes no $option" 2 "$option: works only with an accept file, and .*/draft.ttr is a draft file" \
        plan --trace "$examples/draft.ttr" $option 1
done
expect_error "an accept file takes no --tree" 2 "--tree: works only with a reason or draft file, and .*/accept.ttr is an accept file" \
    replay "$examples/accept.ttr" --tree 0
expect_error "a draft tree is no star" 2 "--star: works only without --draft" \
    replay "$examples/accept.ttr" --draft "$examples/draft.ttr:8" --star 2
for option in '--every 2' '--heads 4/2' '--head-dim 32' '--storage bf16' '--isa portable'; do
    # shellcheck disable=SC2086 # an option and its value
    expect_error "$option without --attention" 2 "${option% *}: works only with --attention" replay "$small" $option
done
for option in '--target cpu' '--workers 4'; do
    # shellcheck disable=SC2086 # an option and its value
    expect_error "$option of another strategy" 2 "${option% *}: works only with the strategy cost, not with node" \
        plan --tree '1,2 / 3,4' --strategy node $option
done
expect_error "target" 2 "--target: expected gpu or cpu, got 'tpu'" plan --tree '1,2 / 3,4' --target tpu
expect_error "variant of items" 2 "--variant: works only without --items" \
    plan --tree '1,2 / 3,4' --strategy node --items --variant all
expect_error "bench: --star without a trace" 2 "--star: works only with --trace" bench --star 3
expect_error "neither tree nor trace" 2 "expected either --tree .* or --trace FILE" plan
expect_error "iteration beyond the end" 2 "iteration 10: expected 1 to 9" plan --trace "$small" --iteration 10
expect_error "items of all strategies" 2 "--items: works only with one --strategy" plan --tree '1,2 / 3,4' --items
expect_error "variant" 2 "--variant: expected packed, .* got 'best'" plan --tree '1,2 / 3,4' --variant best

expect_error "a folder" 2 "^treeattn: $work: Is a directory$" replay "$work"
expect_error "no such file" 2 "^treeattn: $work/none.ttr: No such file or directory$" replay "$work/none.ttr"
# broken NAME LINE SED_SCRIPT: the small trace with one edit; the error names file and line.
broken() {
    sed "$3" "$small" >"$work/$1.ttr"
    expect_error "$1" 2 "^treeattn: $work/$1.ttr:$2:[0-9]+: .*expected" replay "$work/$1.ttr"
}
broken unknown_word 5 's/^node 1 /knot 1 /'
broken wrong_parent 8 's/^node 4 1 /node 4 5 /'
broken own_parent 8 's/^node 4 1 /node 4 4 /'
broken negative_tokens 5 's/^node 1 0 4/node 1 0 -4/'
broken huge_tokens 5 's/^node 1 0 4 1 4/node 1 0 4294967296 1 4/'
broken wrong_check_sum 10 's/^end 39/end 40/'
broken too_many_nodes 10 's/^tree 0 0 6/tree 0 0 7/'
broken missing_field 5 's/^node 1 0 4 1 4/node 1 0 4 1/'
broken wrong_version 1 's/^ttr 1/ttr 2/'
head -n 7 "$small" >"$work/cut.ttr"
expect_error "cut" 2 "^treeattn: $work/cut.ttr:[0-9]+:[0-9]+: .*expected" replay "$work/cut.ttr"

run
expect "no verb: status" 2 "$status"
expect_match "no verb: usage" 'treeattn VERB --help' "$work/err"
"$TREEATTN_BIN" step >/dev/full 2>"$work/err"
expect "full disk: status" 1 $?
expect_match "full disk: message" 'could not write' "$work/err"
finish
