#!/bin/bash
# Claim: treeattn plan lists the items and bytes that follow from the strategies' rules, the items add up to the plan, and
# the output says which part of the given levels was stored.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"

# row STRATEGY VARIANT COLUMNS...: the values of these columns, from $work/out
row() {
    local strategy=$1 variant=$2
    shift 2
    awk -F, -v strategy="$strategy" -v variant="$variant" -v names="$*" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; n = split(names, wanted, " ") }
        $1 == strategy && $2 == variant { for (i = 1; i <= n; i++) printf "%s%s", (i > 1 ? " " : ""), $(at[wanted[i]]) }
    ' "$work/out"
}

# Two branches with 4 tokens each behind a prefix of 3: U = 11, S = 14; a token is 2 * 8 * 128 * 2 = 4096 bytes of K and V.
run plan --tree '1,2 / 3,4' --block-tokens 1 --format csv
expect "status" 0 "$status"
expect "flash" "2 14 2 0" "$(row flash packed items loaded_tokens partial_rows masked_pairs)"
expect "flash: bytes" "$((14 * 4096)) $((11 * 4096)) $((14 * 4096)) 0 0" \
    "$(row flash packed logical_bytes unique_bytes plan_bytes mask_bytes partial_bytes)"
expect "node" "3 11 4 0" "$(row node packed items loaded_tokens partial_rows masked_pairs)"
expect "node: bytes" "$((11 * 4096)) 0 $((4 * 32 * 129 * 4 * 2))" "$(row node packed plan_bytes mask_bytes partial_bytes)"
expect "tree_mask" "1 11 2 8" "$(row tree_mask packed items loaded_tokens partial_rows masked_pairs)"
expect "flatten" "1 11 2 8" "$(row flatten packed items loaded_tokens partial_rows masked_pairs)"
expect "materialised rows" 2 "$(grep -c ',materialised,' "$work/out")"

# Rows of DeFT's tables: a star of one-token leaves behind 4000 tokens, one token per block.
while read -r leaves flatten flatten_tokens flatten_rows node node_tokens node_rows chunk chunk_rows; do
    run plan --tree "1,$leaves / 4000,1" --block-tokens 1 --format csv
    expect "star $leaves: flatten" "$flatten $flatten_tokens $flatten_rows" \
        "$(row flatten packed items loaded_tokens partial_rows)"
    expect "star $leaves: node" "$node $node_tokens $node_rows" "$(row node packed items loaded_tokens partial_rows)"
    expect "star $leaves: node_chunk" "$chunk $chunk_rows" "$(row node_chunk packed items partial_rows)"
done <<'END'
32 32 4032 1024 33 4032 64 64 1056
64 64 8128 2048 66 8064 128 128 2112
128 129 16416 4128 132 16128 256 256 4224
256 261 33312 8352 264 32256 512 512 8448
END

for strategy in flash flash_decoding radix tree_mask node node_chunk flatten cost; do
    run plan --tree '1,3,40 / 300,77,20' --strategy $strategy --format csv
    wanted="$(row $strategy packed items loaded_tokens partial_rows)"
    run plan --tree '1,3,40 / 300,77,20' --strategy $strategy --items --format csv
    expect "$strategy: items add up" "$wanted" \
        "$(awk -F, 'NR > 1 { tokens += $5; rows += $2 } END { print NR - 1, tokens, rows }' "$work/out")"
done

run plan --tree '1,3,40 / 300,77,20' --variant all --format csv
expect "three variants of eight strategies, two that materialise" 27 "$(wc -l <"$work/out")"
expect "deft_counted counts query heads" $((4 * $(row flash packed plan_bytes))) "$(row flash deft_counted plan_bytes)"

# Of a trace: by hand, tests/tool_small.ttr at iteration 6 has U = 35, S = 81, the widest is its first with 3 queries.
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
run plan --trace "$small" --iteration 6 --block-tokens 1 --heads 1/1 --head-dim 1 --storage fp32 --format csv
expect "trace, iteration 6" "$((81 * 8)) $((35 * 8))" "$(row flash packed logical_bytes unique_bytes)"
run plan --trace "$small" --block-tokens 1 --heads 1/1 --head-dim 1 --storage fp32 --format csv
expect "trace, widest step" "3 $((24 * 8))" "$(row flash packed items unique_bytes)"
# Siblings of different lengths: nodes 3, 4 and 9; U = 16, S = 7 + 12; one token per block, so that all is shared.
run plan --tree '1,2 / 3,4|9' --block-tokens 1 --format csv
expect "siblings differ: node" "3 16 4" "$(row node packed items loaded_tokens partial_rows)"
expect "siblings differ: flash" "2 19" "$(row flash packed items loaded_tokens)"
run plan --tree '1,5 / 3 , 4|9' --block-tokens 1 --format csv
expect "lengths in turn" "$((3 + 4 + 9 + 4 + 9 + 4))" "$(row node packed loaded_tokens)"

# The same tree at the prices of a GPU and of a CPU.
for target in gpu cpu; do
    run plan --tree '1,4,16 / 300,60,20' --strategy cost --target $target --format csv
    printf "%s\n" "$(row cost packed items loaded_tokens partial_rows masked_pairs)" >>"$work/targets"
done
expect "the target decides: plans differ" 2 "$(sort -u "$work/targets" | wc -l)"
run plan --tree '1,4,16 / 300,60,20' --strategy cost --format csv
expect "gpu unless told" "$(head -n 1 "$work/targets")" "$(row cost packed items loaded_tokens partial_rows masked_pairs)"

# A CPU's workers are its online processors.
levels='1,2 / 8000,100'
for workers in '' "--workers $(getconf _NPROCESSORS_ONLN)" '--workers 132' '--workers 1'; do
    # shellcheck disable=SC2086 # two words, or none
    run plan --tree "$levels" --strategy cost --items --target cpu $workers --format csv
    cksum <"$work/out" >>"$work/plans"
done
expect "cpu: balanced over the online processors" "$(sed -n 1p "$work/plans")" "$(sed -n 2p "$work/plans")"
expect "cpu: the number of workers counts" 2 "$(sed 1,2d "$work/plans" | sort -u | wc -l)"

# A prefix that fills no block is in every branch, and the output says so.
run plan --tree '1,2 / 6,3'
expect "nodes that are copied: said" "given: 3 nodes, 12 tokens; stored: 2 nodes, 18 tokens" "$(head -n 1 "$work/out")"
expect_match "nodes that are copied: why" 'Only full blocks of 16 tokens are shared' "$work/out"
run plan --tree '1,2 / 6,3' --block-tokens 1
expect "nothing is copied" "given: 3 nodes, 12 tokens; stored: 3 nodes, 12 tokens 0" \
    "$(head -n 1 "$work/out") $(grep -c 'are shared' "$work/out")"
run plan --tree '1,1 / 16,16'
expect_match "nodes that are one" 'Nodes that the same branches see are one node' "$work/out"

# The legend names every column.
for arguments in '' '--strategy node --items'; do
    # shellcheck disable=SC2086 # several
    run plan --tree '1,2 / 32,4' $arguments
    legend=$(sed '1,/^ *\(strategy\|item\) /d' "$work/out" | sed '1,/^$/d')
    read -ra names < <(grep -E '^ *(strategy|item) ' "$work/out" | sed 's/^ *[a-z]* *//')
    for name in "${names[@]}"; do
        expect "legend: $name" 1 "$(grep -cw -- "$name" <<<"$legend" | sed 's/^[2-9]/1/')"
    done
done
run plan --tree '1,2 / 3,4'
expect "text: a screen's width" 0 "$(awk 'length > 120' "$work/out" | wc -l)"
finish
