#!/bin/bash
# Claim: README's sample is what `treeattn think --brief` prints below its first blank line, times aside, and its example
# in C compiles, runs and prints the lines below it. `tests/test_readme.sh --write` puts the present output of build/ into README.md.
# shellcheck disable=SC2016 # backquotes
set -uo pipefail
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}" "${TREEATTN_BUILD_DIR:=$TREEATTN_SOURCE_DIR/build}"
: "${TREEATTN_BIN:=$TREEATTN_BUILD_DIR/treeattn}"
cd "$TREEATTN_SOURCE_DIR" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read_cache() { sed -n "s/^$1:[A-Z]*=//p" "$TREEATTN_BUILD_DIR/CMakeCache.txt"; }

without_times=(sed -E -e '/^  (copied|shared)/s/ +[0-9]+$//' -e 's/: [0-9]+ tokens per second.*//')
mkdir "$work/build" && ln -s "$TREEATTN_BIN" "$work/build/treeattn" # make demo calls it build/treeattn
present_demo() { (cd "$work" && NO_COLOR=1 build/treeattn think '3 3 8 8' --brief) | sed '1,/^$/d'; }

present_example() {
    local flags=(-std=c11 -Wall -Wextra -Werror -Iallocator -Ireference{,/shape,/plan,/eviction,/cpu,/workloads}) sanitize openmp
    sanitize=$(read_cache TREEATTN_SANITIZE)
    openmp=$(read_cache OpenMP_C_FLAGS)
    [ -z "$sanitize" ] || flags+=("-fsanitize=$sanitize")
    [ "$(read_cache TREEATTN_COVERAGE)" = OFF ] || flags+=(--coverage)
    [[ $openmp != -* ]] || flags+=("$openmp")
    sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' >"$work/example.c"
    "$(read_cache CMAKE_C_COMPILER)" "${flags[@]}" -o "$work/example" "$work/example.c" \
        "$TREEATTN_BUILD_DIR/libtreeattn.a" -lm && "$work/example"
}

failed=0
parts=(demo example)
[ -z "$(read_cache TREEATTN_SANITIZE)" ] || parts=(example) # test_tool_demo runs the demo, sanitized too
for part in "${parts[@]}"; do
    { echo '```text' && "present_$part" && echo '```'; } >"$work/present" || { echo "FAIL $part ends with an error"; exit 1; }
    if [ "${1:-}" = --write ]; then
        sed -i -e "/^<!-- $part -->\$/r $work/present" -e "/^<!-- $part -->\$/,/^<!-- \\/$part -->\$/{/^<!-- /!d}" README.md
    fi
    sed -n "/^<!-- $part -->\$/,/^<!-- \\/$part -->\$/p" README.md | sed '1d;$d' | "${without_times[@]}" >"$work/recorded"
    "${without_times[@]}" <"$work/present" >"$work/shown"
    if diff "$work/recorded" "$work/shown" >"$work/diff"; then
        echo "pass $part"
    else
        echo "FAIL $part: README.md (<) is not what it prints now (>); tests/test_readme.sh --write puts it there"
        cat "$work/diff"
        failed=$((failed + 1))
    fi
done
[ $failed = 0 ]
