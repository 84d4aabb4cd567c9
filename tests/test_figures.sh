#!/bin/bash
# Claim: every figure has its five files, and its pictures were drawn from the csv, script and style that lie beside them.
set -u
cd "$TREEATTN_SOURCE_DIR/figures" || exit 1
failed=0 checked=0
fail() {
    echo "FAIL $*"
    failed=$((failed + 1))
}
for script in *.gp; do
    [ -f "$script" ] || break
    stem=${script%.gp}
    checked=$((checked + 1))
    for extension in csv md svg png; do
        [ -s "$stem.$extension" ] || fail "figures/$stem.$extension is missing"
    done
    [ -f "$stem.c" ] || [ -f "$stem.cu" ] || fail "figures/$stem has no program"
    hash=$(cat "$stem.gp" "$stem.csv" style.gnuplot | sha256sum | cut -d ' ' -f 1)
    grep -q "<!-- gp+csv+style sha256 $hash -->" "$stem.svg" 2>/dev/null ||
        fail "figures/$stem.svg is not drawn from this csv, gp and style: make figures"
    for word in device commit command; do
        grep -qiE "^#.*$word" "$stem.csv" || fail "figures/$stem.csv does not say its $word"
    done
    for word in Varied Look Refuted; do
        grep -q "$word" "$stem.md" || fail "figures/$stem.md has no '$word'"
    done
done
echo "$checked figures checked, $failed failed"
[ $failed = 0 ] && [ $checked -gt 0 ]
