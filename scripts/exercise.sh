#!/bin/bash
# exercise.sh [BUILD]: the exercises. Without N in the environment: the list, with progress. With N: builds the student's
# file, runs its check within limits, prints each property. With HINT as well: the next hint.
#   EXERCISES_MINE     the folder of the student's files (exercises/mine)
#   EXERCISE_SECONDS   processor time of a check (5)
# Exit status: 0 solved, 1 not yet, 2 bad input.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:-build}
mine=${EXERCISES_MINE:-exercises/mine}
out=$build/exercise
out=${out#"$PWD/"}
jobs=${jobs:-2}
number=${N-} want_hint=${HINT-}
export LC_ALL=C

stop() { # LINE...: bad input
    echo "$*"
    exit 2
}
all=(exercises/[0-9][0-9]_*)
all=("${all[@]#exercises/}")
title() { sed -n '1s/^# [0-9]* //p' "exercises/$1/README.md"; }
# The first link behind a bold word of the text, as a path from here.
link_of() { sed -n "s#.*\*\*$2:\*\* \[[^]]*\](\(\.\./\)*\([^)]*\)).*#\2#p" "exercises/$1/README.md" | head -n 1; }
# The student's file: C, or C++ where the exercise is a kernel.
language() { if [ -f "exercises/$1/skeleton.cu" ]; then echo cu; else echo c; fi; }
state_of() { # NAME: solved, changed, begun, -
    local file
    file=$mine/$1.$(language "$1")
    if [ ! -f "$file" ]; then
        echo -
    elif [ ! -f "$mine/.solved/$1" ]; then
        echo begun
    elif [ "$(cksum <"$file")" = "$(cat "$mine/.solved/$1")" ]; then
        echo solved
    else
        echo changed
    fi
}
count_solved() {
    local name count=0
    for name in "${all[@]}"; do [ "$(state_of "$name")" != solved ] || count=$((count + 1)); done
    echo $count
}
# Behind exercise NUMBER, then from the first on.
next_unsolved() { # NUMBER
    local candidate
    for candidate in "${all[@]:$1}" "${all[@]}"; do
        [ "$(state_of "$candidate")" = solved ] || { echo "$candidate"; return; }
    done
}
number_of() { local digits=${1%%_*}; echo "${digits#0}"; }

list() {
    local name count
    for name in "${all[@]}"; do
        printf '  %2s  %-44s %-8s %s\n' "$(number_of "$name")" "$(title "$name")" "$(state_of "$name")" "$(link_of "$name" Chapter)"
    done
    count=$(count_solved)
    if [ "$count" = ${#all[@]} ]; then
        closing
    else
        name=$(next_unsolved 0)
        echo "$count of ${#all[@]} solved; next: make exercise N=$(number_of "$name"), and read exercises/$name/README.md"
    fi
}

closing() {
    echo "All ${#all[@]} are solved: you have written a cache of blocks that branches share, attention over a tree in"
    echo "pieces, a plan, and a policy that forgets. The project's own versions are in allocator/ and reference/; next:"
    echo "docs/book/08_floor.md, and CONTRIBUTING.md, which has tasks that need no GPU."
}

hint() {
    local shown=0 hints
    hints=$(($(grep -c '^--$' "exercises/$name/hints.txt") + 1))
    mkdir -p "$mine/.hints" 2>/dev/null || stop "cannot write to $mine"
    [ -f "$mine/.hints/$name" ] && read -r shown <"$mine/.hints/$name"
    case $shown in '' | *[!0-9]*) shown=0 ;; esac
    if [ "$shown" -ge "$hints" ]; then
        echo "That was the last hint. A solution: exercises/solutions/$name.$(language "$name"). HINT=1 begins again with the first."
        rm -f "$mine/.hints/$name"
        return
    fi
    shown=$((shown + 1))
    echo "hint $shown of $hints"
    awk -v which=$shown 'BEGIN { n = 1 } /^--$/ { n++; next } n == which { print "  " $0 }' "exercises/$name/hints.txt"
    echo "$shown" >"$mine/.hints/$name"
}

# ---- building ----

# The first error of a compiler or linker, as one line.
first_error() { sed -n 's/^\(.*\(fatal \)\?error: .*\)$/\1/p' "$1" | head -n 1; }

choose_flags() {
    local sanitize="-fsanitize=address,undefined -fno-sanitize=object-size -fno-sanitize-recover=all -fno-omit-frame-pointer" kept
    CC=${CC:-$(command -v cc || command -v gcc || command -v clang || true)}
    [ -n "$CC" ] || stop "no C compiler; do: sudo apt-get install -y --no-install-recommends gcc libc6-dev"
    if [ -z "${CXX:-}" ]; then
        case $(readlink -f "$(command -v "${CC##* }")") in
        *clang*) CXX=$(command -v clang++ || true) ;;
        *) CXX=$(command -v c++ || command -v g++ || true) ;;
        esac
    fi
    export CC CXX
    case $out in *[[:space:]]*) stop "make cannot build in $out: a blank in its name" ;; esac
    mkdir -p "$out" 2>/dev/null || stop "cannot write to $out"
    kept="$CC $CXX $sanitize"
    if [ "$(sed -n 1p "$out/flags" 2>/dev/null)" != "$kept" ]; then
        rm -rf "${out:?}"/*
        # shellcheck disable=SC2086 # words
        echo 'int main(void) { return 0; }' | $CC -x c - $sanitize -o "$out/probe" 2>/dev/null && "$out/probe" || sanitize=
        [ -n "$sanitize" ] || echo "The sanitizers of $CC are not installed: mistakes in memory may go unnoticed."
        printf '%s\n%s\n' "$kept" "-O1 -g1 -ffp-contract=off -Wall -Wextra $sanitize" >"$out/flags"
    fi
    flags=$(sed -n 2p "$out/flags")
}

build_base() { # TARGET...
    [ -f "$out/library.a" ] || echo "building the library with sanitizers, once"
    if ! ${MAKE:-make} -f exercises/exercise.mk -j "$jobs" --no-print-directory out="$out" flags="$flags" CC="$CC" CXX="$CXX" "$@" \
        >"$out/build.log" 2>&1; then
        echo "the exercise itself does not build: $(first_error "$out/build.log") (all of it: $out/build.log)"
        exit 2
    fi
}

# The student's file and the check become $work/program, or one line says why not.
# shellcheck disable=SC2086,SC2206 # CC, CXX, flags: words
build_student() {
    local includes=(-Iallocator -Ireference{,/shape,/plan,/eviction,/workloads} -Iexercises -Iexercises/"$name" -include exercise.h)
    local compile=($CC -std=c11 -fPIC) parts=("$out/$name.o" "$out/library.a")
    if [ "$(language "$name")" = cu ]; then
        compile=($CXX -x c++ -std=c++17 -fno-strict-aliasing -DTREEATTN_EMULATE -Igpu -Igpu/device -Igpu/emulate)
        parts+=("$out/emulate.o")
    fi
    if ! "${compile[@]}" $flags -Dmain=main_of_the_student -Wno-unused-parameter "${includes[@]}" -c -o "$work/student.o" "$file" \
        2>"$work/log"; then
        echo "  FAIL  it compiles"; echo "        $(first_error "$work/log")"
        return 1
    fi
    if ! $linker $flags -o "$work/program" "$work/student.o" "${parts[@]}" -lm 2>"$work/link.log"; then
        local function
        function=$(sed -n "s/.*undefined reference to [\`'\"]\([A-Za-z_]*\).*/\1/p; s/.*undefined symbol: \([A-Za-z_]*\).*/\1/p" "$work/link.log" | head -n 1)
        case $function in
        exercise_*) echo "  FAIL  it is complete"; echo "        $file does not define $function; its first lines are in exercises/$name/skeleton.$(language "$name")" ;;
        *) echo "  FAIL  it links"; echo "        $(grep -vE '^ *$' "$work/link.log" | head -n 1)" ;;
        esac
        return 1
    fi
}

# ---- the report ----

# Reads the program's output; prints the properties. Exit status: 0 all hold.
report() {
    awk -v student="$(basename "$file")" '
    function flush_line(verdict, text) { sub(/\t/, "\n        ", text); print "  " verdict "  " text }
    in_report {
        if ($0 ~ /^(READ|WRITE) of size/ && !access) access = tolower($1) "s " $4 " bytes"
        if ($0 ~ /^ *#[0-9]+ / && index($0, student ":") && !at) {
            at = $0; sub(/^ *#[0-9]+ 0x[0-9a-f]+ in /, "", at); name = at; sub(/[ (].*/, "", name); sub(/.* /, "", at)
            n = split(at, part, ":"); at = part[1] ":" part[2] " (" name ")"
        }
        if ($0 ~ /^stopped /) stopped = substr($0, 9)
        next
    }
    /^try / { trying = substr($0, 5); next }
    /^pass / { flush_line("pass", substr($0, 6)); passed++; trying = ""; next }
    /^FAIL / { flush_line("FAIL", substr($0, 6)); failed++; trying = ""; next }
    /^score / { flush_line("score", substr($0, 7)); next }
    /^end / { ended = 1; next }
    /^stopped / { stopped = substr($0, 9); next }
    /ERROR: AddressSanitizer/ { in_report = 1; kind = $0; sub(/.*AddressSanitizer: */, "", kind); next }
    /hard rss limit exhausted/ { memory = 1; next }
    /runtime error: / { undefined = $0; in_report = 1; next }
    /Assertion .* failed/ { if (!undefined) { undefined = $0; sub(/^[^:]*: */, "", undefined) } next }
    /^=+$/ || /DEADLYSIGNAL/ || /^SUMMARY: / || /^Aborted/ || $0 == "" { next }
    { if (++printed <= 20) print "  |     " $0; else if (printed == 21) print "  |     ..." }
    END {
        if (kind != "") {
            word = kind; sub(/[ :].*/, "", word)
            if (word ~ /buffer-overflow|use-after|bounds|underflow/) why = access " outside an array (" word ")"
            else if (word == "SEGV") why = "it crashed: a pointer that points to no memory"
            else if (word == "stack-overflow") why = "it crashed: a function that calls itself without an end, or a very large array"
            else if (kind ~ /allocation-size|requested allocation|out of memory|out-of-memory|failed to allocate/) why = "it needs more memory than the limit of 256 MiB"
            else if (word == "FPE") why = "it crashed: an integer was divided by 0"
            else why = kind
            if (at != "") why = why ", at " at
        } else if (memory) why = "it needs more memory than the limit of 512 MiB"
        else if (undefined != "") why = undefined
        else if (stopped != "") why = stopped
        else if (!ended) why = "the program ended before its check did: does your function call exit?"
        if (why != "") { flush_line("FAIL", (trying != "" ? trying "\t" : "") why); failed++ }
        exit failed > 0
    }'
}

next_step() {
    local next
    mkdir -p "$mine/.solved" && cksum <"$file" >"$mine/.solved/$name"
    echo "Solved. The project's own: $(link_of "$name" "The project's own"); another solution: exercises/solutions/$name.$(language "$name")"
    next=$(next_unsolved "$(number_of "$name")")
    if [ -z "$next" ]; then
        closing
    else
        echo "$(count_solved) of ${#all[@]} solved; next: make exercise N=$(number_of "$next"), and read exercises/$next/README.md"
    fi
}

not_yet() {
    local line
    line=$(grep -n 'your code' "$file" | head -n 1 | cut -d: -f1)
    if cmp -s "$file" "exercises/$name/skeleton.$(language "$name")"; then
        echo "Not yet: $file is the skeleton as it was. Read exercises/$name/README.md, then write at line ${line:-1} of your file."
    else
        echo "Not yet: open $file${line:+, line $line}. The text: exercises/$name/README.md; a hint: make exercise N=$(number_of "$name") HINT=1"
    fi
    if [ -s "$work/log" ] && grep -q 'warning: ' "$work/log" && ! grep -q 'error: ' "$work/log"; then
        echo "The compiler warns: $(grep -m 1 'warning: ' "$work/log")"
    fi
}

run() {
    local kind target=("${name}_check")
    kind=$(language "$name")
    choose_flags
    linker=$CC
    if [ "$kind" = cu ]; then
        if [ -z "$CXX" ]; then
            echo "skip exercise_$(number_of "$name") no C++ compiler: sudo apt-get install -y --no-install-recommends g++"
            exit 77
        fi
        linker=$CXX
        target+=(emulator)
    fi
    if [ ! -e "$file" ]; then
        if ! { mkdir -p "$mine" && cp "exercises/$name/skeleton.$kind" "$file"; } 2>/dev/null; then stop "cannot write $file"; fi
        echo "$file is yours now: a copy of the skeleton. The text: exercises/$name/README.md"
    fi
    if [ ! -f "$file" ] || [ ! -r "$file" ]; then stop "$file is not a file that can be read"; fi
    build_base "${target[@]}"
    work=$(mktemp -d) || exit 2
    trap 'rm -rf "$work"' EXIT
    printf '%s %s\n' "$(number_of "$name")" "$(title "$name")"
    rm -f "$mine/.solved/$name"
    if ! grep -q '[^[:space:]]' "$file"; then
        echo "  FAIL  it is complete"; echo "        $file is empty; a fresh start: cp exercises/$name/skeleton.$kind $file"
        return 1
    fi
    build_student || { not_yet; return 1; }
    if ASAN_OPTIONS=detect_leaks=0:hard_rss_limit_mb=512:max_allocation_size_mb=256:color=never:detect_stack_use_after_return=0 \
        UBSAN_OPTIONS=print_stacktrace=0:color=never "$out/child" "${EXERCISE_SECONDS:-5}" "$work/program" | report; then
        next_step
    else
        not_yet
        return 1
    fi
}

# For tests/test_exercises.sh: all checks, so that several exercises can be run at the same time.
if [ "${2-}" = build ]; then
    choose_flags
    checks=()
    for name in "${all[@]}"; do
        if [ -n "$CXX" ] || [ "$(language "$name")" = c ]; then checks+=("${name}_check"); fi
    done
    [ -z "$CXX" ] || checks+=(emulator)
    build_base "${checks[@]}"
    exit 0
fi
if [ -z "$number" ]; then
    [ -z "$want_hint" ] || stop "HINT=$want_hint: of which exercise? make exercise N=4 HINT=1"
    list
    exit 0
fi
case $number in
[1-9] | 0[1-9] | 1[0-2]) name=${all[$((10#$number - 1))]} ;;
*) stop "N=$number: expected a number from 1 to ${#all[@]}; make exercise lists them" ;;
esac
file=$mine/$name.$(language "$name")
case ${want_hint:-0} in
0) run ;;
*) hint ;;
esac
