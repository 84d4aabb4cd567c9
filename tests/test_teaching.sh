#!/bin/bash
# Claim: docs/teaching.md can be taught as it stands: each of its commands is run, here or by another test; the output that
# it shows is the program's; the sentences of the pictures and the lessons of the figures are theirs; text and figures
# have their licence.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
cd "$TREEATTN_SOURCE_DIR" || exit 1
page=docs/teaching.md

# Commands: in shell fences and in the table, where | is escaped.
# shellcheck disable=SC2016 # backquotes
commands=$({
    sed -n '/^```sh$/,/^```$/p' $page | grep -v '^```'
    grep -oE '`(build/treeattn|make) [^`]*`' $page | tr -d '`' | sed 's/\\|/|/g'
} | sed 's/ *#.*//; s/ --wait$//' | sort -u)
expect "there are commands" 1 "$(($(wc -l <<<"$commands") > 10))"
# The tests that run a verb of make.
declare -A tested=([demo]=test_tool_think.sh [figures]=test_captions.sh [book]=test_book_html.sh [rung]=test_rungs.sh
    [diff]=test_rungs.sh [tour]=test_tour.sh [exercise]=test_exercises.sh)
while IFS= read -r command; do
    read -ra words <<<"$command"
    case $command in
    "build/treeattn bench") expect "$command: a verb of the program" 1 "$("$TREEATTN_BIN" --help | grep -c '^  bench ')" ;;
    "build/treeattn "*)
        eval "words=(${command#* })"
        run "${words[@]}"
        expect "$command: status" 0 "$status"
        expect "$command: nothing on stderr" "" "$(cat "$work/err")"
        ;;
    make*)
        test=${tested[${words[1]}]-none}
        expect "$command: a verb of make" 1 "$(grep -c "^${words[1]}:.*##" Makefile)"
        expect "$command: tests/$test runs it" 1 "$([ -f "tests/$test" ]; echo $((!$?)))"
        ;;
    *) fail "$command" "neither the program nor make" ;;
    esac
done <<<"$commands"

# Minutes: the class fills 50, the lab three hours.
expect "the class has 50 minutes, without a gap" "0 50 0" "$(sed -nE 's/^\|([0-9]+) to ([0-9]+)\|.*/\1 \2/p' $page |
    awk 'NR == 1 { first = $1; last = $1 } { gaps += $1 != last; last = $2 } END { print first, last, gaps }')"
expect "the lab has 180 minutes" 180 "$(sed -nE 's/^### [0-9]+\. .*\(([0-9]+) minutes\)$/\1/p' $page | awk '{ s += $1 } END { print s }')"

# What the lab says of forgetting.
errors() { # STREAM POLICY
    "$TREEATTN_BIN" evict --stream "$1" --tokens 512 --policy "$2" --format csv | grep -v '^#' |
        awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "error_mean") c = i } NR == 2 { print $c }'
}
expect "topics_slow: LongFlow a fifth of random, and below h2o" "1 1" "$(awk -v r="$(errors topics_slow random)" \
    -v l="$(errors topics_slow longflow)" -v h="$(errors topics_slow h2o)" 'BEGIN { print (l > 0 && 5 * l < r), (l < h) }')"
expect "topics_short: h2o below LongFlow" 1 "$(awk -v l="$(errors topics_short longflow)" -v h="$(errors topics_short h2o)" \
    'BEGIN { print (h > 0 && h < l) }')"

scripts/lessons.sh >"$work/out" 2>&1
expect "lessons: status" 0 $?
expect "lessons: all figures and steps" "$(printf '%s\n' figures/*.gp figures/steps/*.gp | wc -l)" "$(grep -cE '^\|\[[a-z0-9_]+\]\(\.\./figures/' $page)"
if command -v python3 >/dev/null; then
    scripts/weave --check $page >"$work/out" 2>&1
    expect "shown output and numbers: those of the project" "0 " "$? $(head -c 400 "$work/out")"
else
    skip "shown output and numbers: those of the project" "no python3"
fi

for folder in docs figures; do
    expect "$folder/LICENSE: CC BY 4.0, its text and its summary" "1 1 1" \
        "$(grep -c '(CC BY 4.0)' $folder/LICENSE) $(grep -c 'https://creativecommons.org/licenses/by/4.0/legalcode$' $folder/LICENSE) $(
            grep -c 'https://creativecommons.org/licenses/by/4.0/$' $folder/LICENSE)"
done
expect "code: MIT" "MIT License" "$(head -n 1 LICENSE)"
finish
