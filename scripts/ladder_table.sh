#!/bin/bash
# ladder_table.sh [--write]: the ladder as a table: its rungs with the lessons of gpu/ladder/steps.cu, the times of
# figures/ladder.csv (64 branches, plan cost, cold L2), the lines of code that each adds (scripts/rungs.sh), and last
# the floor.
#   without --write  the table, on stdout
#   --write          puts it into README.md, between the lines <!-- ladder --> and <!-- /ladder -->, and the times into
#                    the line `wins` at the head of each rung's file. A rung that was not recorded keeps its line
# Exit status: 0; 1: README.md lacks the two lines; 2: bad usage.
set -u
cd "$(dirname "$0")/.." || exit 1
csv=figures/ladder.csv

if [ $# -gt 1 ] || [ "${1:---write}" != --write ]; then
    echo "usage: scripts/ladder_table.sh [--write]; got '$*'" >&2
    exit 2
fi

# Three digits, as far as they are recorded.
us() { awk "BEGIN { printf $1 < 99.95 ? \"%.1f\" : \"%.0f\", $1 }"; }

# STEP,US of each rung, then floor,US.
recorded() {
    awk -F, '$1 ~ /^"64 branches/ && $5 == "cost" { print $6 "," $7; floor = $9 } END { print "floor," floor }' "$csv"
}

# NAME<tab>LESSON of each rung, in reading order.
lessons() { tr '\n' ' ' <gpu/ladder/steps.cu | grep -oE '\{"step_[^"]*", *"[^"]*"' | sed -E 's/^\{"([^"]*)", *"/\1\t/; s/"$//'; }

table() {
    local number=0 name lesson us gain before='' floor
    declare -A time
    while IFS=, read -r name us; do time[$name]=$us; done < <(recorded)
    echo "One call on 64 branches with 64 tokens each behind a prefix of 2048: 32/8 heads, head_dim 128, fp16, plan cost, cold L2"
    echo "($(sed -n 's/^# device: \([^,]*\),.*/\1/p' "$csv")). Gain: over the rung before. Lines: code that the rung adds, as \`make diff\` counts it."
    echo
    echo "|Rung|Idea|us|Gain|Lines|"
    echo "|-|-|-:|-:|-:|"
    while IFS=$'\t' read -r name lesson; do
        us=${time[$name]:-} gain=
        if [ -n "$us" ] && [ -n "$before" ]; then gain=$(awk "BEGIN { printf \"%.2fx\", $before / $us }"); fi
        printf '|[%s](gpu/ladder/%s.cu)|%s|%s|%s|%s|\n' "$(sed 's/^step_//; s/_/ /g' <<<"$name")" "$name" "$lesson" \
            "$([ -z "$us" ] || us "$us")" "$gain" "$(scripts/rungs.sh added $number)"
        before=${us:-$before} number=$((number + 1))
    done < <(lessons)
    floor=${time[floor]}
    printf '|floor|the time that a perfect kernel needs to read K and V once, or to multiply if that takes longer; the last rung measured reaches %s of it|%s|%s||\n' \
        "$(awk "BEGIN { printf \"%.2f\", $floor / $before }")" "$(us "$floor")" "$(awk "BEGIN { printf \"%.2fx\", $before / $floor }")"
}

write_readme() {
    if [ "$(grep -cxE '<!-- /?ladder -->' README.md)" != 2 ]; then
        echo "README.md: expected one line <!-- ladder --> and one <!-- /ladder -->" >&2
        exit 1
    fi
    local text
    text=$(table) && awk -v text="$text" '
        $0 == "<!-- /ladder -->" { skip = 0 }
        !skip { print }
        $0 == "<!-- ladder -->" { print text; skip = 1 }' README.md >README.md.new && mv README.md.new README.md
}

write_wins() {
    local before='' name us
    while IFS=, read -r name us; do
        us=$(us "$us")
        [ ! -f "gpu/ladder/$name.cu" ] ||
            sed -i -E "/^ \*   wins /s/([0-9.]+ to )?[0-9.]+ us on 64 branches|not recorded on 64 branches/${before:+$before to }$us us on 64 branches/" \
                "gpu/ladder/$name.cu"
        before=$us
    done < <(recorded | grep -v '^floor')
}

if [ $# = 0 ]; then
    table
else
    write_readme
    write_wins
fi
