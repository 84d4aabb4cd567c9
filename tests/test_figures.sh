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
    for word in 'Varied:' 'Fixed:' 'What would prove this wrong:' 'Again:'; do
        grep -qF "**$word**" "$stem.md" || fail "figures/$stem.md has no '$word'"
    done
    for page in "$stem.md" README.md; do
        grep -q "]($stem.svg)" "$page" || fail "figures/$page does not show figures/$stem.svg"
    done
    grep -q "]($stem.md)" README.md || fail "figures/README.md does not link figures/$stem.md"
    grep -nE "lc rgb|lt rgb|[^a-z]lt [1-8]( |$)" "$stem.gp" | grep -vE "#(dddddd|000000|bbbbbb|c62828)'" | grep . &&
        fail "figures/$stem.gp has a colour of its own: strategies and lines are named in style.gnuplot"
    grep -nE '[^0-9a-f.#][0-9]{4,}[^0-9]* with lines' "$stem.gp" | grep . &&
        fail "figures/$stem.gp draws a line at a literal: ceilings are in the csv"
done

# Strategies differ in marker and in grey, and so do policies: the luminances of their colours lie apart.
awk 'function hex(s) { return 16 * index("123456789abcdef", substr(s, 1, 1)) + index("123456789abcdef", substr(s, 2, 1)) }
    /^set linetype 3?[1-8] / {
        g = $3 > 30; c = $6; p = $NF; n[g]++
        y[g, n[g]] = (0.299 * hex(substr(c, 3)) + 0.587 * hex(substr(c, 5)) + 0.114 * hex(substr(c, 7))) / 255
        for (i = 1; i < n[g]; i++) { d = y[g, i] - y[g, n[g]]; if (d * d < 0.035 ^ 2 || p == marker[g, i]) exit bad = 1 }
        marker[g, n[g]] = p
    }
    END { exit bad || n[0] != 8 || n[1] != 8 }' style.gnuplot || fail "style.gnuplot: two strategies or two policies look the same in grey, or have one marker"

# Ceilings: of the GPU that was measured, in its csv; none is a literal in a script or a program.
for program in *.cu; do
    for name in dram_gbps l2_gbps matrix_tflops launch_us; do
        grep -qE "^# $name: [0-9.]+$" "${program%.cu}.csv" || fail "figures/${program%.cu}.csv does not say its $name"
    done
done
grep -nE '4550|5700|790e|7[0-9]{2}e12' ./*.gp ./*.cu ./*.c ../measure/* && fail "a ceiling is a literal"

# The key of gpu_trees' short names is what its program measures.
key=$(sed -n 's/^    {"\([^"]*\)", "\([0-9,]*\)", "\([0-9,]*\)"},$/|\1|\2|\3|/p' gpu_trees.cu | tr -d ' ')
if [ -z "$key" ] || [ "$(grep -E '^\| [^|]* \| [0-9]' gpu_trees.md | tr -d ' ')" != "$key" ]; then
    fail "figures/gpu_trees.md: its key of short names is not the table of gpu_trees.cu"
fi
# Steps: drawn from the csv that they name, the common files and the style; each is one element more than the one before.
steps=0
for script in steps/*.gp; do
    stem=${script%.gp}
    steps=$((steps + 1))
    csv=$(sed -n '1s/^# data: //p' "$script")
    [ -f "$csv" ] || fail "figures/$script names no csv in its first line"
    sequence=$(sed -n "s#^load 'figures/\(steps/[a-z_]*.gnuplot\)'\$#\1#p" "$script")
    [ -f "$sequence" ] || fail "figures/$script loads no sequence"
    hash=$(cat "$script" "$csv" style.gnuplot steps/frame.gnuplot "$sequence" steps/at.awk | sha256sum | cut -d ' ' -f 1)
    grep -q "<!-- gp+csv+style sha256 $hash -->" "$stem.svg" 2>/dev/null ||
        fail "figures/$stem.svg is not drawn from this csv, gp and style: make figures"
    [ -s "$stem.png" ] || fail "figures/$stem.png is missing"
    grep -q '^<title>[A-Z].*[.]</title>' "$stem.svg" || fail "figures/$stem.svg says no sentence"
done
[ $steps -ge 22 ] || fail "only $steps steps"
tiny=${TREEATTN_BUILD_DIR:-../build}/tiny_tree
if [ -x "$tiny" ]; then
    "$tiny" | awk -f steps/tiny.awk | cmp -s - steps/tiny.csv || fail "figures/steps/tiny.csv is not what build/tiny_tree prints"
else
    echo "skip tiny_tree not built"
fi
# Each has one line in colour, the new one, whose name is bold; the names of the step before are there, and grey.
names() { # SVG COLOUR_OR_WEIGHT: names of lines in grey, or bold
    grep -A1 "$2" "$1" | sed -n 's#^.*<text>\(.*\)</text>#\1#p' | sort
}
drawn() { # SVG: number of its lines that have points
    awk '/<g id="gnuplot_plot_/ { within = 1; found = 0 } within && /<path|<use/ { found = 1 }
        within { line = $0; depth += gsub(/<g[ >]/, "", line) - gsub(/<\/g>/, "", line); if (depth <= 0) { n += found; within = depth = 0 } }
        END { print n + 0 }' "$1"
}
grey_name='fill="rgb(95,95,95)"' bold_name='font-weight="bold"'
before=
for svg in steps/[0-9]*.svg; do
    bold=$(names "$svg" "$bold_name")
    [ "$(grep -c . <<<"$bold")" -ge 1 ] || fail "figures/$svg emphasises nothing"
    if grep -qF "$(sed -n '/^load/p' "${svg%.svg}.gp")" "$before" 2>/dev/null; then
        known=$({ names "${before%.gp}.svg" "$grey_name" && names "${before%.gp}.svg" "$bold_name"; } | sort)
        [ "$known" = "$(names "$svg" "$grey_name")" ] ||
            fail "figures/$svg does not have the lines of figures/${before%.gp}.svg in grey: $known"
        [ "$(drawn "$svg")" -gt "$(drawn "${before%.gp}.svg")" ] || fail "figures/$svg draws no more than figures/${before%.gp}.svg"
        grep -qxF -- "$bold" <<<"$known" && fail "figures/$svg adds no line to figures/${before%.gp}.svg"
    fi
    before=${svg%.svg}.gp
done
# Numbers in their texts: formats, and names of cells; no text has a digit that is typed.
typed=$(awk '!/^ *#/ && /lesson|label|name\(|title/ {
    line = $0
    gsub(/lesson_%?[0-9d]|%[0-9.]*[dfgs]|font [^;]*,[0-9]+.|#[0-9a-f]+|rgb .[^;]*|[a-z]+=[a-z0-9_%]+|L2/, "", line)
    while (match(line, /"[^"]*"|\047[^\047]*\047/)) {
        if (substr(line, RSTART, RLENGTH) ~ /[0-9]/) print FILENAME ": " $0
        line = substr(line, RSTART + RLENGTH)
    }
}' steps/[!f]*.gnuplot steps/*.gp)
[ -z "$typed" ] || fail "a number is typed into a text of a step: $typed"
grep -nE "#[0-9a-f]{6}" steps/*.gp && fail "a step has a colour of its own: frame.gnuplot names them"
../scripts/lessons.sh || fail "a page differs from the sentences of the pictures"

echo "$checked figures and $steps steps checked, $failed failed"
[ $failed = 0 ] && [ $checked -gt 0 ]
