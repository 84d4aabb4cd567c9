#!/bin/bash
# Claim: treeattn attend prints what tree_attention_ref computes on the tree that was given: for the book's tree the
# tables, counts, partial states and outputs of docs/book/tiny_tree.c; for every strategy the outputs of attention_ref.
# The text is what tests/golden holds: `tests/test_tool_attend.sh --write` puts the present output there.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
: "${TREEATTN_BUILD_DIR:=$(dirname "$TREEATTN_BIN")}"
golden=$TREEATTN_SOURCE_DIR/tests/golden/attend.txt
tiny=(--tree '1,2 / 6,3|4' --block-tokens 4)

run attend "${tiny[@]}" --partials
[ "${1:-}" != --write ] || cp "$work/out" "$golden"
expect "golden: status" 0 "$status"
expect "golden" "$(cat "$golden")" "$(cat "$work/out")"
expect "80 columns" "" "$(awk 'length > 80' "$golden")"

# ---- the program of the book ----
read_cache() { sed -n "s/^$1:[A-Z]*=//p" "$TREEATTN_BUILD_DIR/CMakeCache.txt"; }
options=()
sanitize=$(read_cache TREEATTN_SANITIZE) openmp=$(read_cache OpenMP_C_FLAGS)
[ -z "$sanitize" ] || options+=("-fsanitize=$sanitize")
[ "$(read_cache TREEATTN_COVERAGE)" = OFF ] || options+=(--coverage)
[[ $openmp != -* ]] || options+=("$openmp")
includes=()
for room in "${rooms[@]}"; do includes+=(-I"$TREEATTN_SOURCE_DIR/$room"); done
"$(read_cache CMAKE_C_COMPILER)" -std=c11 -O1 "${includes[@]}" "${options[@]}" -o "$work/tiny_tree" \
    "$TREEATTN_SOURCE_DIR/docs/book/tiny_tree.c" "$TREEATTN_BUILD_DIR/libtreeattn.a" -lm && "$work/tiny_tree" >"$work/tiny"
expect "tiny_tree.c runs" 0 $?
expect "tables" "$(sed '/^find/,$d' "$work/tiny" | sed -n 's/^ *branch /query /p' | tail -n 2)" "$(grep '^query .*len=' "$work/out")"
expect "tokens stored and along the paths" \
    "$(sed -n 's/^ *\([0-9]*\) tokens along the paths, \([0-9]*\) stored$/\2 stored, \1 along the paths/p' "$work/tiny")" \
    "$(sed -n 's/^13 tokens, \(.* along the paths\);.*/\1/p' "$work/out")"
# item, query, m (2 digits after the point there), l, o
expect "partial states" "$(sed -n 's/^ *item \([0-9]\), q\([0-9]\) m *\([0-9.-]*\) *l *\([0-9.]*\) *o */\1 \2 \3 \4 /p' "$work/tiny" | tr -s ' ')" \
    "$(tr -d '[]' <"$work/out" | awk '/^item/ { item = $2 + 0 } $1 == "query" && /head 0: m/ { printf "%d %d %.2f %s %s %s %s %s\n", item, $2, $6, $8, $10, $11, $12, $13 }')"
expect "outputs" "$(sed -n 's/^ *out of branch \([01]\): \(.*[0-9]\) *lse \(.*\)$/\1 \3 \2/p' "$work/tiny" | tr -s ' ')" \
    "$(tr -d '[],' <"$work/out" | awk '$1 == "query" && $5 == "lse" { print $2, $6, $8, $9, $10, $11 }')"
expect "partial states: how many there are" 4 "$(grep -c 'head 0: m' "$work/out")"

# The tokens of each slot, and keys and values, by the walk: their sum is out, which was compared.
run step "${tiny[@]}" --format csv
expect "tokens of branch 0" "0 1 2 3 4 5 6 7 8" "$(awk -F, '$2 == "absorb" { print $7 }' "$work/out" | paste -sd ' ')"

# ---- strategies ----
while read -r levels block_tokens; do
    for strategy in flash flash_decoding radix tree_mask node node_chunk flatten cost; do
        for seed in '' '--seed 9'; do
            # shellcheck disable=SC2086 # two words, or none
            run attend --tree "${levels//_/ }" --block-tokens "$block_tokens" --strategy $strategy --heads 4/2 \
                --head-dim 6 $seed --format csv
            cp "$work/out" "$work/$strategy${seed:+.seed}"
            # the column, and out against flash's
            expect "$levels $strategy $seed: as each branch alone" "0 0" "$status $(awk -F, -v flash="$work/flash${seed:+.seed}" '
                BEGIN { while ((getline line < flash) > 0) wanted[++n] = line }
                NR == 1 { if ($NF != "relative_difference") bad++; next }
                { if (!($NF < 4e-7)) bad++
                  m = split(wanted[NR], value, ",")
                  if (m != NF) bad++
                  scale = value[5] < 0 ? -value[5] : value[5]
                  for (i = 1; i < NF; i++) { d = $i - value[i]; if (!(d * d <= 1e-12 * (1 + scale) * (1 + scale))) bad++ } }
                END { print bad + (NR < 3) + (NR != n) }' "$work/out")"
        done
    done
done <<'END'
1,2_/_6,3|4 4
1,3,9_/_40,9,5|2|1 16
END

# ---- choices ----
whole=$("$TREEATTN_BIN" attend "${tiny[@]}" --heads 4/2 --format csv)
run attend "${tiny[@]}" --heads 4/2 --query 1 --format csv
expect "one query" "$(grep -e ^query -e ^1, <<<"$whole")" "$(cat "$work/out")"
run attend "${tiny[@]}" --heads 4/2 --query 1 --head 2 --format csv
expect "one query and head" "$(grep -e ^query -e ^1,2, <<<"$whole")" "$(cat "$work/out")"
run attend "${tiny[@]}" --partials --heads 4/2 --query 1 --head 2 --format csv
expect "partial states of one query and head" "0,1,2,1 2,1,2,3" "$(sed 1d "$work/out" | cut -d, -f1-4 | paste -sd ' ')"
run attend --trace "$TREEATTN_SOURCE_DIR/docs/examples/traces/draft.ttr"
expect "a trace: status" 0 "$status"
expect_match "a trace: as each branch alone" 'differ by [0-9.]*e-0[78] of their size' "$work/out"

# ---- bad input ----
expect_error "no tree" 2 'expected either --tree .* or --trace FILE' attend
expect_error "no such query" 2 '^treeattn: --query 2: expected 0 to 1, the queries of this tree$' attend "${tiny[@]}" --query 2
expect_error "no such head" 2 '^treeattn: --head 1: expected 0 to 0, the query heads' attend "${tiny[@]}" --head 1
expect_error "a tree that cannot be parsed" 2 '--tree, nodes, column 3: ' attend --tree '1,x / 3,4'
expect_error "storage" 2 "unknown option '--storage'" attend "${tiny[@]}" --storage bf16
finish
