#!/bin/bash
# Claim: treeattn demo prints the same below its first blank line on every machine and every run, as text and as JSON,
# and that is what tests/golden holds. All of it is one screen of 80 columns and 24 lines, its sums agree, and the
# commands that it names work as typed. `tests/test_tool_demo.sh --write` puts the present output there.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
golden=$TREEATTN_SOURCE_DIR/tests/golden

golden_text() { sed -e '1,/^$/d' -e 's/; picture .*//' -e '/^next /d'; }
golden_json() { sed -n '/^  "demo": {/,/^  },/p'; }

# As make demo calls it: text 1. What follows below reads its pictures, too.
mkdir -p "$work/home/build"
ln -s "$TREEATTN_BIN" "$work/home/build/treeattn"
in_home() { (cd "$work/home" && NO_COLOR=1 bash -c "$1") >"$work/out" 2>"$work/err" </dev/null; }
in_home "build/treeattn demo"
expect "status text 1" 0 $?
cp "$work/out" "$work/screen"
golden_text <"$work/screen" >"$work/text.1"
again() { # FORMAT TURN
    run demo --format "$1" --out "$work/out $2/deep"
    expect "status $1 $2" 0 "$status"
    "golden_$1" <"$work/out" >"$work/$1.$2"
}
again json 1
turns=(1)
if [ "$sanitized" != 1 ]; then
    turns=(1 2)
    again text 2
    again json 2
fi
if [ "${1:-}" = --write ]; then
    cp "$work/text.1" "$golden/demo.txt"
    cp "$work/json.1" "$golden/demo.json"
fi
for format in text json; do
    expect "$format: all runs are the same" "$(cat "$work/$format.1")" "$(cat "$work/$format.${turns[-1]}")"
done
expect "text is the golden text" "$(cat "$golden/demo.txt")" "$(cat "$work/text.1")"
expect "json is the golden json" "$(cat "$golden/demo.json")" "$(cat "$work/json.1")"

# One line of the 24 is left for make.
expect "fits the width of a screen" 0 "$(awk 'length > 80' "$work/screen" | wc -l)"
expect "fits the height of a screen" 1 "$(($(wc -l <"$work/screen") <= 23))"
expect "the machine takes one line" 2 "$(grep -n -m 1 '^$' "$work/screen" | cut -d: -f1)"
next=$(sed -n 's/^next *//p' "$work/screen")
more=$(sed -n 's/.* more: //p' "$work/screen")
in_home "$next"
expect "next works as typed: $next" "0 1" "$? $(grep -c 'two_passes' "$work/out")"
in_home "$more"
expect "more works as typed: $more" "0 1" "$? $(grep -c '^Pruned: 5 branches, 22 blocks' "$work/out")"
expect "--verbose fits the width of a screen" 0 "$(awk 'length > 80' "$work/out" | wc -l)"
expect "--verbose says more" 1 "$(($(wc -l <"$work/out") > 50))"

# The lines are the whole tree: their columns add up to the totals that stand elsewhere.
part() { sed -n "/\"$1\": {/,/^    }/p" "$golden/demo.json"; }
sum() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" | awk '{ sum += $1 } END { print sum }'; }
expect "the tokens of all nodes are U" "$(sum unique_tokens <"$golden/demo.json")" "$(part before | sum node_tokens)"
for moment in before after; do
    expect "blocks of all nodes, $moment" "$(part $moment | sum used_blocks)" "$(part $moment | sum blocks)"
done
expect "the first column of the screen too" "$(part before | sum own_tokens)" \
    "$(sed -n '/^Tree of thoughts/,/^  own/p' "$golden/demo.txt" | sed '1d;$d' | sed 's/^.\{42\}//' | awk '{ sum += $1 } END { print sum }')"
expect "branches before and after" "69 > 5" "$(part before | grep -m 1 -A 1 '"references"' | grep -o '[0-9]*' | paste -sd '>' | sed 's/>/ > /')"

ln -s "$work/home/build/demo" "$work/shown"
for file in tree.csv tree.gp tree.txt; do
    if [ -s "$work/shown/$file" ]; then pass "wrote $file"; else fail "wrote $file" "missing or empty"; fi
done
if command -v gnuplot >/dev/null; then
    expect_match "drew tree.svg" '<svg' "$work/shown/tree.svg"
    expect_match "drew tree.png" 'PNG' "$work/shown/tree.png"
else
    skip "drew tree.svg" "no gnuplot"
    skip "drew tree.png" "no gnuplot"
fi

# The picture's area is U: the sum of the nodes' tokens; every query's column adds up to its path.
unique=$(awk -F, 'NR > 1 { sum += $4 } END { print sum }' "$work/shown/tree.csv")
paths=$(awk -F, 'NR > 1 { sum += $2 * $4 } END { print sum }' "$work/shown/tree.csv")
expect "tree.csv adds up to U" "$(sed -n 's/.*"unique_tokens": \([0-9]*\).*/\1/p' "$golden/demo.json")" "$unique"
expect "tree.csv adds up to S" "$(sed -n 's/.*"path_tokens": \([0-9]*\).*/\1/p' "$golden/demo.json")" "$paths"

mkdir "$work/empty"
PATH=$work/empty run demo --out "$work/plain"
expect "without gnuplot: status" 0 "$status"
expect "without gnuplot: the same text" "$(cat "$golden/demo.txt")" "$(golden_text <"$work/out")"
expect_match "without gnuplot: one line says so" '; picture .*/tree.txt, no gnuplot$' "$work/out"

touch "$work/file"
expect_error "a file in the way" 1 "$work/file/x: Not a directory" demo --out "$work/file/x"
finish
