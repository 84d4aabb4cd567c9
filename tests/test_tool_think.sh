#!/bin/bash
# Claim: treeattn think prints the same tree for the same cards on every machine, with a BLAS and without, by every
# strategy and in copied memory, and that is what tests/golden holds. The closest of its choices, and of its printed
# values, is at least 20 times as far as logits differ between these ways (tests/test_search_model.c). Bad input is one
# line; where memory is short, the tree gets narrower. `tests/test_tool_think.sh --write` puts the present output there.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
golden=$TREEATTN_SOURCE_DIR/tests/golden

# All but the machine and the times.
same_everywhere() {
    sed -E -e '1{/^[^2]/d}' -e '/^$/d' -e '/^  (copied|shared)/s/ +[0-9]+$/ ms/' -e 's/: [0-9]+ tokens per second.*//' -e '/^next /d'
}
json_value() { sed -n "s/.*\"$1\": \(.*[^,]\),\{0,1\}\$/\1/p" "$work/out" | head -1; }

# shellcheck disable=SC2034 # by their names
brief=("3 3 8 8" --brief) drawn=("3 3 8 8" --breadth 2 --proposals 4 --temperature 0.7 --seed 11) written=("3 7 8 13" --search)
names=(drawn brief)
[ "$sanitized" != 1 ] || names=(drawn)
mkdir -p "$work/home/build"
ln -s "$TREEATTN_BIN" "$work/home/build/treeattn"
for name in "${names[@]}" written; do
    declare -n arguments=$name
    (cd "$work/home" && NO_COLOR=1 build/treeattn think "${arguments[@]}") >"$work/out" 2>"$work/err" </dev/null
    expect "$name: status" 0 "$?"
    cp "$work/out" "$work/$name.raw"
    same_everywhere <"$work/out" >"$work/$name"
    [ "${1:-}" != --write ] || cp "$work/$name" "$golden/think_$name.txt"
    expect "$name: the golden text" "$(cat "$golden/think_$name.txt")" "$(cat "$work/$name")"
done
expect_match "the written-out search is solved" '^\(?[0-9].* = 24, checked$' "$work/written"

# Margins, by JSON; the same texts by other options (tests/test_search_model.c tries them all).
for name in "${names[@]}"; do
    declare -n arguments=$name
    run think "${arguments[@]}" --format json
    expect "$name: the same texts in three kinds of memory" "true" "$(json_value same_texts)"
    for margin in margin_logits printed_margin_logits; do
        expect "$name: $margin is at least 20 x 6e-5" 1 "$(awk -v m="$(json_value $margin)" 'BEGIN { print (m >= 20 * 6e-5) }')"
    done
done

run think "${drawn[@]}" --products loops --isa portable --strategy node --block-tokens 4 --threads 1
tree_of() { sed '/^K and V/,$d' "$1"; }
expect "drawn by other options: the same tree" "$(tree_of "$work/drawn")" "$(same_everywhere <"$work/out" | tree_of /dev/stdin)"

# The first screen, as make demo calls it; one line of the 24 is left for make.
if [ "$sanitized" != 1 ]; then
    expect_match "it is solved" '= 24, checked$' "$work/brief"
    expect "fits the width of a screen" 0 "$(awk 'length > 80' "$work/brief.raw" | wc -l)"
    expect "fits the height of a screen" 1 "$(($(wc -l <"$work/brief.raw") <= 23))"
    expect "the machine takes one line" 2 "$(grep -n -m 1 '^$' "$work/brief.raw" | cut -d: -f1)"
    blocks_of() { sed -n "s/^  $1 *\([0-9]*\) .*/\1/p" "$work/brief.raw"; }
    expect "shared blocks are fewer than copies" 1 "$(($(blocks_of 'shared blocks') < $(blocks_of 'copied per branch')))"
    next=$(sed -n 's/^next *\(.*[^ ]\) *#.*/\1/p' "$work/brief.raw")
    (cd "$work/home" && bash -c "$next") >"$work/out" 2>"$work/err" </dev/null
    expect "next works as typed: $next" "0 1" "$? $(grep -c '^Game of 24, 4 9 10 13' "$work/out")"
fi

# A set without a solution, one chain, memory that is short.
run think '1 1 1 1' --breadth 1 --proposals 2
expect "no solution: status" 0 "$status"
expect_match "no solution: the solver says so" '^24 cannot be reached from 1 1 1 1: ' "$work/out"
expect_match "no solution: so does the end" '^No solution found, as there is none$' "$work/out"
run think '1 2 3 4' --chain --explain
expect "chain: three levels" "0 3" "$status $(grep -c '^level [123]: 1 line, ' "$work/out")"
expect_match "chain: explained" '^Each character is the most probable one$' "$work/out"
run think '4 9 10 13' --proposals 4 --blocks 20
expect "20 blocks: status" 0 "$status"
expect_match "20 blocks: narrower, and it says so" '^  20 blocks are too few for all lines: [0-9]+ were pruned early' "$work/out"
expect_match "20 blocks: copies get less of it" '^  copied per branch +(does not fit into 20 blocks|[0-9]+ )' "$work/out"
expect_error "1 block" 1 'treeattn: 1 block of 4 tokens: too few for one line of thought$' think '4 9 10 13' --blocks 1 --block-tokens 4
run think '13 12 11 10' --breadth 64 --proposals 1 --temperature 10 --seed 9223372036854775807
expect "the limits of options" 0 "$status"

# Branches that forget. A budget that is never reached changes nothing.
run think "${drawn[@]}" --evict longflow --budget 1000
expect "a budget that is never reached: status" "0 1" "$status $(grep -c '^  longflow forgot 0 tokens: a branch keeps 1000$' "$work/out")"
expect "a budget that is never reached: the same tree" "$(tree_of "$work/drawn" | grep '^ *level\|  [01]\.')" \
    "$(grep '^ *level\|  [01]\.' "$work/out")"
for way in '--breadth 2' --chain --search; do
    # shellcheck disable=SC2086 # words of options
    run think '3 3 8 8' $way --evict sink_window --budget 24 --explain
    expect_match "$way: forgets" '^  sink_window forgot [1-9][0-9]* tokens: a branch keeps 24$' "$work/out"
    expect "$way: status" 0 "$status"
done
run think '3 3 8 8' --breadth 1 --proposals 2 --evict h2o --budget 20 --format json
expect_match "JSON: forgotten tokens" '"forgotten_tokens": [1-9]' "$work/out"

# Bad input.
expect_error "an unknown policy" 2 "--evict: expected full, random, .* or longflow_l2, got 'lru'" think '1 2 3 4' --evict lru --budget 9
expect_error "no budget" 2 "--evict: needs --budget N" think '1 2 3 4' --evict h2o
for budget in 0 -1 x 9%; do
    expect_error "budget '$budget'" 2 "--budget: expected a whole number from 1 to 1048576, got '$budget'" \
        think '1 2 3 4' --evict h2o --budget "$budget"
done
expect_error "a budget alone" 2 "--budget: has no effect without --evict" think '1 2 3 4' --budget 9
expect_error "forgetting on a GPU" 2 "--gpu: has no effect with --evict" think '1 2 3 4' --evict h2o --budget 9 --gpu
for cards in '' ' ' '1 2 3' '1 2 3 4 5' '0 1 2 3' '14 1 2 3' '1 2 3 x' '-' '1,2,3,4' '1 2 3 99999999999999999999' $'1\n2 3 4'; do
    expect_error "cards '$cards'" 2 'expected four whole numbers from 1 to 13' think "$cards"
done
expect_error "cards with a minus" 2 "unknown option '-1 2 3 4'" think '-1 2 3 4'
expect_error "no cards" 2 "think: expected CARDS" think
expect_error "breadth" 2 "--breadth: expected a whole number from 1 to 64, got '65'" think '1 2 3 4' --breadth 65
expect_error "proposals" 2 "--proposals: expected a whole number from 1 to 32, got '0'" think '1 2 3 4' --proposals 0
for temperature in -1 11 nan x '' 1x 1e400; do
    expect_error "temperature '$temperature'" 2 "--temperature: expected a number from 0 to 10, got '$temperature'" \
        think '1 2 3 4' --temperature "$temperature"
done
expect_error "products" 2 "--products: expected auto, blas or loops, got 'gpu'" think '1 2 3 4' --products gpu
expect_error "two ways" 2 "--chain, --search: expected one of them" think '1 2 3 4' --chain --search
expect_error "the breadth of a chain" 2 "--breadth: has no effect with --chain" think '1 2 3 4' --chain --breadth 2
expect_error "instructions of a GPU" 2 "--isa: has no effect with --gpu" think '1 2 3 4' --gpu --isa auto
expect_error "no file" 2 "no_such.weights" think '1 2 3 4' --weights no_such.weights
expect_error "a folder" 2 "$work" think '1 2 3 4' --weights "$work"
sed '1s/ 1$/ 2/' "$TREEATTN_SOURCE_DIR/model/reasoner.weights" >"$work/version.weights"
expect_error "weights of another version" 2 "version.weights: a weights file of version 2; this program reads version 1$" think '1 2 3 4' --weights "$work/version.weights"
head -c 1000000 "$TREEATTN_SOURCE_DIR/model/reasoner.weights" >"$work/cut.weights"
expect_error "weights cut off" 2 "cut.weights" think '1 2 3 4' --weights "$work/cut.weights"
if ! grep -q '^CMAKE_CUDA_COMPILER:[A-Z]*=.*nvcc' "${TREEATTN_BUILD_DIR:-/none}/CMakeCache.txt" 2>/dev/null; then
    expect_error "no GPU" 1 "--gpu: this program was built without CUDA" think '1 2 3 4' --gpu
fi
mkdir "$work/alone" && cp "$TREEATTN_BIN" "$work/alone/treeattn"
"$work/alone/treeattn" think '1 2 3 4' >"$work/out" 2>"$work/err" </dev/null
expect "a program without its weights" "1 1 0" "$? $(grep -c '^treeattn: no weights: .*--weights FILE' "$work/err") $(wc -c <"$work/out")"
if [ -e /dev/full ]; then
    "$TREEATTN_BIN" think '1 2 3 4' --chain >/dev/full 2>"$work/err" </dev/null
    expect "a full disk" "1 1" "$? $(grep -c 'could not write to standard output' "$work/err")"
fi
finish
