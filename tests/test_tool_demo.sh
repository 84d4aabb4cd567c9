#!/bin/bash
# Claim: treeattn demo prints the same below its first blank line on every machine and every run, as text and as JSON,
# and that is what tests/golden holds. `tests/test_tool_demo.sh --write` puts the present output there.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
golden=$TREEATTN_SOURCE_DIR/tests/golden

golden_text() { sed '1,/^$/d' | grep -vE '^(files|next) '; }
golden_json() { sed -n '/^  "demo": {/,/^  },/p'; }

for turn in 1 2; do
    for format in text json; do
        run demo --format $format --out "$work/out $turn/deep"
        expect "status $format $turn" 0 "$status"
        "golden_$format" <"$work/out" >"$work/$format.$turn"
    done
done
if [ "${1:-}" = --write ]; then
    cp "$work/text.1" "$golden/demo.txt"
    cp "$work/json.1" "$golden/demo.json"
fi
for format in text json; do
    expect "$format: two runs are the same" "$(cat "$work/$format.1")" "$(cat "$work/$format.2")"
done
expect "text is the golden text" "$(cat "$golden/demo.txt")" "$(cat "$work/text.1")"
expect "json is the golden json" "$(cat "$golden/demo.json")" "$(cat "$work/json.1")"

run demo --out "$work/shown"
expect "fits a screen's width" 0 "$(awk 'length > 100' "$work/out" | grep -vc '^files')"
lines=$(wc -l <"$work/out")
expect "fits a screen's height" 1 "$((lines >= 30 && lines <= 45))"
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
expect_match "without gnuplot: one line says so" 'no gnuplot: tree.txt is the picture' "$work/out"

touch "$work/file"
expect_error "a file in the way" 1 "$work/file/x: Not a directory" demo --out "$work/file/x"
finish
