#!/bin/bash
# lessons.sh [--write]: compares the sentences of the step pictures, which are the titles of figures/steps/*.svg, and the
# index of all figures with the pages that repeat them, or writes them there. They stand between two comments:
#
#   figures/steps/README.md   <!-- lessons 01 tiny_0 --> <!-- /lessons -->  these steps, each with its picture
#   docs/teaching.md          <!-- figures --> <!-- /figures -->            the lessons of figures/README.md
#                             <!-- steps --> <!-- /steps -->                the lessons of all steps
#
# Exit 1 if a page says something else, or a step is on no page.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
new=$(mktemp -d) && trap 'rm -rf "$new"' EXIT || exit 1
failed=0
fail() { echo "FAIL $*" >&2 && failed=1; }

title() { # SVG: its title as text
    sed -n '/^<title>/ { s/^<title>\(.*\)<\/title>.*/\1/; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g; p; q; }' "$1"
}
drawn() { # SVG: the names of its lines that have points
    awk '/<g id="gnuplot_plot_/ { within = 1; found = 0; name = $0; sub(/.*<title>/, "", name); sub(/<\/title>.*/, "", name) }
        within && /<path|<use|<polygon|<circle|<text/ { found = 1 }
        within { line = $0; depth += gsub(/<g[ >]/, "", line) - gsub(/<\/g>/, "", line) }
        within && depth <= 0 { if (found && !seen[name]++) { text = text separator name; separator = "; " } within = depth = 0 }
        END { print text }' "$1" | sed 's/&amp;/\&/g'
}
step_entries() { # NUMBER..., or tiny_NUMBER
    local number svg stem
    for number in "$@"; do
        for svg in figures/steps/"$number"_*.svg; do
            [ -f "$svg" ] || { fail "no step $number" && continue; }
            stem=${svg##*/} stem=${stem%.svg}
            printf '\n**%s.** %s\n\n![%s](%s.svg)\n' "$stem" "$(title "$svg")" "Drawn: $(drawn "$svg")" "$stem"
        done
    done
    echo
}
step_index() {
    local svg stem
    printf '\n<!-- typed: the pictures say it, and scripts/lessons.sh compares -->\n|step|what it teaches|\n|-|-|\n'
    for svg in figures/steps/*.svg; do
        stem=${svg##*/} stem=${stem%.svg}
        printf '|[%s](../figures/steps/%s.svg)|%s|\n' "$stem" "$stem" "$(title "$svg")"
    done
    echo
}
# A row of figures/README.md: | question | lesson [stem](stem.md) | picture |
figure_index() {
    printf '\n<!-- typed: figures/README.md says it, and scripts/lessons.sh compares -->\n|figure|what it teaches|\n|-|-|\n'
    sed -n 's/^| .* | \(.*\) \[\([a-z0-9_]*\)\](\2\.md) | .* |$/|[\2](..\/figures\/\2.md)|\1|/p' figures/README.md
    echo
}

rewrite() { # PAGE
    local line skipping=
    while IFS= read -r line; do
        case $line in '<!-- /lessons -->' | '<!-- /steps -->' | '<!-- /figures -->') skipping= ;; esac
        [ -n "$skipping" ] || printf '%s\n' "$line"
        # shellcheck disable=SC2086 # words
        case $line in
        '<!-- lessons '*) skipping=1 && set -- $line && step_entries "${@:3:$#-3}" ;;
        '<!-- steps -->') skipping=1 && step_index ;;
        '<!-- figures -->') skipping=1 && figure_index ;;
        esac
    done
    [ -z "$skipping" ] || fail "a part of a page has no end"
}
for page in figures/steps/README.md docs/teaching.md; do
    rewrite <"$page" >"$new/page"
    cmp -s "$new/page" "$page" && continue
    if [ "${1-}" = --write ]; then
        cp "$new/page" "$page" && echo "$page"
    else
        diff "$page" "$new/page" | grep '^[<>]' >&2
        fail "$page does not say the sentences of the pictures: scripts/lessons.sh --write"
    fi
done
for svg in figures/steps/*.svg; do
    grep -qF "(${svg##*/})" figures/steps/README.md || fail "figures/steps/README.md does not show $svg"
done
exit $failed
