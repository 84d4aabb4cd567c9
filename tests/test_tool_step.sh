#!/bin/bash
# Claim: treeattn step's running state, its merge of two halves and the two-pass definition end with the same numbers;
# over a tree its steps are those of the plan, and its last line equals tree_attention_ref bit for bit. The text is what
# tests/golden holds: `tests/test_tool_step.sh --write` puts the present output there.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
golden_folder=$TREEATTN_SOURCE_DIR/tests/golden
examples=$TREEATTN_SOURCE_DIR/docs/examples/traces
tiny=(--tree '1,2 / 6,3|4' --block-tokens 4)

# ---- one query alone ----
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

# ---- golden ----
# golden NAME ARGUMENTS...
golden() {
    local name=$1
    shift
    run "$@"
    [ "$write" = no ] || cp "$work/out" "$golden_folder/$name"
    expect "golden $name: status" 0 "$status"
    expect "golden $name" "$(cat "$golden_folder/$name")" "$(cat "$work/out")"
}
write=no
[ "${1:-}" != --write ] || write=yes
golden step.txt step
golden step_tree.txt step "${tiny[@]}"
golden step_tree_masked.txt step "${tiny[@]}" --query 1 --strategy flatten --heads 4/2 --head 3 --head-dim 6 --seed 3
for file in step_tree.txt step_tree_masked.txt; do
    expect "$file: 80 columns" "" "$(awk 'length > 80' "$golden_folder/$file")"
done
for arguments in '' "${tiny[*]:0:1}"; do
    # shellcheck disable=SC2086 # none, or an option
    run step ${arguments:+"${tiny[@]}"}
    cp "$work/out" "$work/first"
    run step ${arguments:+"${tiny[@]}"} --wait
    expect "${arguments:-alone}: --wait does not wait off a terminal" "0 $(cat "$work/first")" "$status $(cat "$work/out")"
    expect "${arguments:-alone}: and says so in one line" \
        "treeattn: --wait: input or output is not a terminal, so all steps follow without stopping" "$(cat "$work/err")"
done

# ---- a tree ----
# column_of NAME [OPERATION]: the values of a csv column, of the rows of one operation.
column_of() {
    awk -F, -v name="$1" -v operation="${2:-}" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i; next }
        operation == "" || $2 == operation { print $at }' "$work/out" | paste -sd ' '
}

# The last line against tree_attention_ref (treeattn attend): 9 digits tell any two floats apart.
last_line() { awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) name[i] = $i; next }
    { line = ""; for (i = 1; i <= NF; i++) if (name[i] ~ /^(lse|out_)/) line = line (name[i] == "lse" ? "" : $i " "); lse = $NF }
    END { print line lse }' "$work/out"; }
attend_line() { awk -F, -v query="$1" -v head="$2" 'NR == 1 { for (i = 1; i <= NF; i++) name[i] = $i; next }
    $1 == query && $2 == head { for (i = 1; i <= NF; i++) if (name[i] ~ /^out_/) line = line $i " "; print line $4 }' "$work/attend"; }
hidden_tokens=0
while read -r levels block_tokens pieces last; do
    for strategy in flash flash_decoding radix tree_mask node node_chunk flatten cost; do
        [ "$pieces" = - ] && cut=() || cut=(--piece-tokens "$pieces")
        shape=(--tree "${levels//_/ }" --block-tokens "$block_tokens" --strategy "$strategy" --heads 4/2 --head-dim 6
            --seed 7)
        case $strategy in flash | tree_mask | node) cut=() ;; esac
        run attend "${shape[@]}" "${cut[@]}" --format csv
        cp "$work/out" "$work/attend"
        same=0
        for place in "0 0" "$last 1" "$last 3"; do
            run step "${shape[@]}" "${cut[@]}" --query "${place% *}" --head "${place#* }" --format csv
            # shellcheck disable=SC2086 # two words
            [ "$(last_line)" = "$(attend_line $place)" ] && [ "$(last_line | wc -w)" = 7 ] && same=$((same + 1))
            hidden_tokens=$((hidden_tokens + $(grep -c ,hidden, "$work/out")))
        done
        expect "$levels $strategy: the last line is that of tree_attention_ref" 3 $same
    done
done <<'END'
1,2_/_6,3|4 4 - 1
1,2,4_/_9,4,3 2 5 3
1,40_/_30,2 1 7 39
2,5_/_3,2|7 16 - 4
END
expect "masks hide tokens" 1 $((hidden_tokens > 100))

# Every token of the path once, in its order, with the numbers of the book: by flash, and by items of nodes.
while read -r query tokens; do
    for strategy in flash node; do
        run step --tree '1,2,4 / 3,2,1' --block-tokens 2 --query "$query" --strategy $strategy --format csv
        expect "token numbers of query $query, $strategy" "${tokens//,/ }" "$(column_of token absorb)"
    done
done <<'END'
0 0,1,2,3,4,5
1 0,1,2,3,4,6
2 0,1,2,7,8,9
3 0,1,2,7,8,10
END
run step "${tiny[@]}" --query 1 --format csv
expect "tokens, blocks and slots of the book's branch 1" "0 1 2 3 4 5 9 10 11 12/0 0 0 0 1 1 1 1 4 4/0 1 2 3 0 1 2 3 0 1" \
    "$(column_of token absorb)/$(column_of block absorb)/$(column_of slot absorb)"
run step "${tiny[@]}" --strategy tree_mask --format csv
expect "hidden from branch 0: the tokens that branch 1 alone stores" "4 5 9 10 11 12" "$(column_of token hidden)"
expect "a hidden token changes nothing" 1 \
    "$(awk -F, '$2 == "hidden" { if ($12 != m) bad = 1; n++ } { m = $12 } END { print n == 6 && !bad }' "$work/out")"

# The rule of keys and values, with KV heads.
run step --tree '1,2 / 9,5' --block-tokens 4 --heads 4/2 --head 3 --head-dim 5 --format csv
expect "keys and values follow the rule" "14 0" "$(awk -F, '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $2 != "absorb" { next }
    { n++; t = $at["token"]
      for (d = 0; d < 5; d++) {
          if ($at["key_" d] != (d == (t + 1) % 5)) bad++
          if ($at["value_" d] != (d == 0 ? t : t % d == 0)) bad++
      } }
    END { print n, bad + 0 }' "$work/out")"
run step --tree '1,2 / 9,5' --block-tokens 4 --heads 4/2 --head 3 --query 1 --head-dim 5
expect_match "the query follows the rule" '^query 1 of 2, head 3 of 4, KV head 1: \[-2 2 0 4 \.\.\.\]' "$work/out"
run step --tree '1,2 / 9,5' --block-tokens 4 --seed 4 --format csv
cp "$work/out" "$work/first"
run step --tree '1,2 / 9,5' --block-tokens 4 --seed 5 --format csv
expect "another seed, other numbers" 1 "$(cmp -s "$work/first" "$work/out"; echo $?)"
run step --trace "$examples/reason.ttr" --iteration 5 --format csv
expect "a trace" "0 1" "$status $(grep -c ,out, "$work/out")"

# ---- bad input ----
expect_error "tokens of a tree" 2 "--tokens: works only without --tree and --trace" step "${tiny[@]}" --tokens 3
for option in '--query 0' '--strategy node' '--head-dim 4' '--iteration 1'; do
    # shellcheck disable=SC2086 # an option and its value
    expect_error "$option without a tree" 2 "^treeattn: ${option% *}: works only with --tree or --trace; see" step $option
done
expect_error "no such query" 2 '^treeattn: --query 2: expected 0 to 1, the queries of this tree$' step "${tiny[@]}" --query 2
expect_error "no such head" 2 '^treeattn: --head 4: expected 0 to 3, the query heads of this tree$' \
    step "${tiny[@]}" --heads 4/2 --head 4
expect_error "a tree that cannot be parsed" 2 '--tree, tokens, column 10: expected counts of tokens' step --tree '1,2 / 6,3x'
expect_error "a tree and a trace" 2 'expected either --tree .* or --trace FILE' step "${tiny[@]}" --trace x.ttr
expect_error "unknown strategy" 2 "--strategy: expected flash, .* got 'all'" step "${tiny[@]}" --strategy all
expect_error "waiting for a table" 2 '--wait: works only with --format text' step "${tiny[@]}" --wait --format json
finish
