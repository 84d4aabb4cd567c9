#!/bin/bash
# Claim: each exercise can be solved and tells mistakes apart: its solution passes, its skeleton fails with a message of
# its own and no crash, and each planted mistake is refused by the property that names it. What a student's file may do
# wrong is said in one line: it does not compile, is empty, crashes, never ends, writes a file, takes memory without an end.
# Not sanitized: each exercise is built with sanitizers of its own.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
shopt -s lastpipe # `wrong` counts in this shell
cd "$TREEATTN_SOURCE_DIR" || exit 1
build=${TREEATTN_BUILD_DIR:-build}
jobs=${jobs:-2}
export jobs
MIN_MISTAKES=3
mapfile -t names < <(find exercises -maxdepth 1 -name '[0-9][0-9]_*' | sort | sed 's#.*/##')
scripts/exercise.sh "$build" build || exit 1

kind_of() { if [ -f "exercises/$1/skeleton.cu" ]; then echo cu; else echo c; fi; }
N=10 EXERCISES_MINE=$work/probe scripts/exercise.sh "$build" >"$work/out" 2>&1
[ $? != 77 ]
has_cxx=$((!$?))
has_compiler() { [ "$(kind_of "$1")" = c ] || [ "$has_cxx" = 1 ]; }
# try NUMBER FOLDER: the runner's output in FOLDER/out, its status as the status.
try() {
    N=$1 EXERCISES_MINE=$2 EXERCISE_SECONDS=${seconds:-5} scripts/exercise.sh "$build" >"$2/out" 2>&1
}
export -f try
export build

# ---- texts ----

expect "twelve exercises, numbered from 1" "$(seq 12 | tr '\n' ' ')" \
    "$(for name in "${names[@]}"; do echo $((10#${name%%_*})); done | tr '\n' ' ')"
for name in "${names[@]}"; do
    folder=exercises/$name kind=$(kind_of "$name")
    expect "$name: files" "" "$(for file in "$folder"/{README.md,hints.txt,exercise.h,skeleton."$kind"} \
        exercises/solutions/"$name".{"$kind",mistakes}; do [ -s "$file" ] || echo "no $file "; done)"
    expect "$name: half a page" 1 "$(($(wc -l <"$folder/README.md") <= 35))"
    lines=$(wc -l <"$folder/skeleton.$kind")
    expect "$name: a skeleton of 10 to 40 lines" 1 "$((10 <= lines && lines <= 40))"
    expect "$name: its place to write is marked once" 1 "$(grep -c 'your code' "$folder/skeleton.$kind")"
    expect "$name: two hints or more" 1 "$(($(grep -c '^--$' "$folder/hints.txt") >= 1))"
    chapter=$(sed -n 's#.*\*\*Chapter:\*\* \[[^]]*\](../../\([^)]*\)).*#\1#p' "$folder/README.md")
    expect "$name: its chapter" "docs/book/ there" "${chapter%"${chapter##*/}"} $([ -f "$chapter" ] && echo there)"
    expect "$name: the list of exercises/README.md has it" 1 "$(grep -c "]($name/README.md)" exercises/README.md)"
    expect "$name: $MIN_MISTAKES mistakes or more" 1 "$(($(wc -l <"exercises/solutions/$name.mistakes") >= MIN_MISTAKES))"
done

# ---- solutions, skeletons, mistakes ----

# Each line of $work/list is a case: NAME KIND FOLDER. All are run, `jobs` at a time; then the outputs are read.
: >"$work/list"
mkdir "$work/solved"
for name in "${names[@]}"; do
    kind=$(kind_of "$name")
    if ! has_compiler "$name"; then
        skip "$name" "no C++ compiler"
        continue
    fi
    cp "exercises/solutions/$name.$kind" "$work/solved/"
    mkdir -p "$work/$name"/{solution,skeleton}
    cp "exercises/solutions/$name.$kind" "$work/$name/solution/"
    echo "$name solution" >>"$work/list"
    echo "$name skeleton" >>"$work/list"
    number=0
    while IFS='|' read -r property edit; do
        folder=$work/$name/mistake_$((++number))
        mkdir "$folder"
        sed -E "$edit" "exercises/solutions/$name.$kind" >"$folder/$name.$kind"
        echo "$property" >"$folder/property"
        if cmp -s "exercises/solutions/$name.$kind" "$folder/$name.$kind"; then
            fail "$name, mistake $number" "it was not planted: '$edit' matches nothing"
        fi
        echo "$name mistake_$number" >>"$work/list"
    done <"exercises/solutions/$name.mistakes"
done
export work
# shellcheck disable=SC2016 # for the inner bash
xargs -P "$jobs" -L 1 bash -c 'folder=$work/$0/$1; try "$((10#${0%%_*}))" "$folder"; echo $? >"$folder/status"' <"$work/list"

# What a skeleton or a mistake must not end as.
crash='outside an array|it crashed|it does not end|it compiles|it links|it is complete|ended before its check|Assertion|runtime error'
while read -r name case; do
    folder=$work/$name/$case status=$(cat "$work/$name/$case/status")
    case $case in
    solution)
        expect "$name: the solution passes" "0 0" "$status $(grep -c FAIL "$folder/out")"
        [ "$status" = 0 ] || cat "$folder/out"
        expect_match "$name: the project's own is named" "^Solved. The project's own: [a-z]+/" "$folder/out"
        ;;
    skeleton)
        expect "$name: the skeleton fails" 1 "$status"
        expect_match "$name: a message of its own" 'is the skeleton as it was. .* write at line [0-9]+ of your file' "$folder/out"
        expect "$name: the skeleton does not crash" "" "$(grep -E "$crash" "$folder/out")"
        ;;
    *)
        property=$(cat "$folder/property")
        if [ "$status" = 1 ] && grep -qxF -- "  FAIL  $property" "$folder/out" && ! grep -qE 'it compiles|it links' "$folder/out"; then
            pass "$name refused: $property"
        else
            fail "$name, $case" "status $status, expected 'FAIL  $property': $(tail -n +2 "$folder/out" | head -c 1500)"
        fi
        ;;
    esac
done <"$work/list"

expect "the first difference is shown" "        count of block 0: expected 1, got 2" \
    "$(grep -A 1 'each block of the table loses' "$work/01_drop_order/skeleton/out" | tail -n 1)"
expect "the bytes of a plan are shown" "flash 11403264 node 3932160 yours 3395584 bytes" \
    "$(sed -n 's/^  score  both  *//p' "$work/09_new_plan/solution/out" | tr -s ' ')"

# ---- what a file may do wrong ----

# wrong NAME PATTERN: the file on standard input, for exercise 5, ends in status 1 with one such line.
wrong() {
    local folder=$work/wrong
    rm -rf "$folder"
    mkdir "$folder"
    cat >"$folder/05_online_softmax.c"
    N=5 EXERCISES_MINE=$folder EXERCISE_SECONDS=1 scripts/exercise.sh "$build" >"$folder/out" 2>&1
    expect "$1: status" 1 $?
    expect_match "$1" "$2" "$folder/out"
}
absorb() { # BODY: a file whose function has this body, in line 4
    printf '#include "exercise.h"\nvoid exercise_absorb(softmax_state *state, double score, const float *value, uint32_t head_dim)\n{\n'
    printf '%s\n}\n' "$1"
}

absorb 'state->m = ;' | wrong "does not compile" '^ +.*05_online_softmax\.c:4:12: error: expected expression'
printf ' \n\n' | wrong "empty file" '05_online_softmax\.c is empty; a fresh start: cp exercises/05'
echo 'int unrelated;' | wrong "no function" 'does not define exercise_absorb; its first lines are in exercises/05'
echo 'int exercise_absorb(void) { return 1; }' | wrong "another signature" "error: conflicting types for .exercise_absorb"
{ absorb 'state->l = 1;'; echo 'int puts(const char *); int main(void) { puts("end 9 of 9"); return 0; }'; } |
    wrong "a main of its own" 'FAIL  the first token: m is its score'
absorb 'void exit(int); exit(0);' | wrong "exit" 'the program ended before its check did'
absorb 'state->o[head_dim] = 1;' |
    wrong "writes behind an array" 'writes 8 bytes outside an array \(.*\), at .*05_online_softmax\.c:4 \(exercise_absorb\)'
absorb '*(volatile int *)8 = 1;' | wrong "crash" 'it crashed: a pointer that points to no memory, at .*:4'
absorb 'volatile int zero = 0; state->l = 1 / zero;' | wrong "division by 0" 'runtime error: division by zero'
absorb 'exercise_absorb(state, score, value, head_dim); state->l++;' |
    wrong "calls itself without an end" 'a function that calls itself without an end|it does not end'
absorb 'for (volatile int i = 0;; i = 1) {}' | wrong "never ends" 'it does not end'
absorb 'void *malloc(unsigned long); state->m = *(char *)malloc(1ul << 40);' |
    wrong "takes too much memory" 'needs more memory than the limit'
echo kept >"$work/target"
absorb "int creat(const char *, unsigned); creat(\"$work/target\", 0666);" |
    wrong "writes a file" 'it tried to write, create or remove a file'
absorb 'int x = head_dim; int printf(const char *, ...); printf("m is %g\n", state->m);' |
    wrong "what it prints is shown" '^  \|     m is '
expect_match "a warning is shown" '^The compiler warns: .*05_online_softmax\.c:4:.*unused variable' "$work/wrong/out"

# The same limits, one by one, on a program that is built once.
cat >"$work/bad.c" <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    const char *what = argv[1], *target = argv[2], *new = argv[3];
    char command[2000];
    if (!strcmp(what, "fopen")) fopen(target, "w");
    if (!strcmp(what, "append")) fopen(target, "a");
    if (!strcmp(what, "create")) open(new, O_CREAT | O_RDONLY, 0666);
    if (!strcmp(what, "unlink")) unlink(target);
    if (!strcmp(what, "rename")) rename(target, new);
    if (!strcmp(what, "link")) link(target, new);
    if (!strcmp(what, "symlink")) symlink(target, new);
    if (!strcmp(what, "mkdir")) mkdir(new, 0777);
    if (!strcmp(what, "truncate")) truncate(target, 0);
    if (!strcmp(what, "chmod")) chmod(target, 0);
    snprintf(command, sizeof command, "echo bad >%s; rm -f %s; touch %s", target, target, new);
    if (!strcmp(what, "system")) return system(command) != 0;
    if (!strcmp(what, "leaves a child") && !fork()) for (;;) sleep(1);
    if (!strcmp(what, "sleeps")) sleep(100);
    if (!strcmp(what, "prints")) for (;;) puts("again");
    return argc - argc;
}
END
cc=$(command -v cc || command -v gcc || command -v clang)
"$cc" -w -o "$work/bad" "$work/bad.c" || fail "bad.c" "it does not compile"
while IFS='|' read -r what wanted end; do
    timeout 20 "$build/exercise/child" 1 "$work/bad" "$what" "$work/target" "$work/new" >"$work/out" 2>&1 </dev/null
    expect "limits, $what: status" "$end" $?
    [ -z "$wanted" ] || expect_match "limits, $what" "^stopped it $wanted" "$work/out"
    expect "limits, $what: files are as they were" "kept gone" "$(cat "$work/target") $([ -e "$work/new" ] || echo gone)"
done <<'END'
fopen|tried to write|3
append|tried to write|3
create|tried to write|3
unlink|tried to write|3
rename|tried to write|3
link|tried to write|3
symlink|tried to write|3
mkdir|tried to write|3
truncate|tried to write|3
chmod|tried to write|3
system||1
leaves a child|does not end|3
sleeps|does not end|3
prints|prints without an end|3
nothing||0
END
expect "limits: no process is left" "" "$(pgrep -f "^$work/bad" || true)"

# ---- the verb ----

# shellcheck disable=SC2016 # it must not run
for n in 0 13 -1 4x "1 2" 1.5 99999999999999999999 '$(touch bad)' 007; do
    N=$n EXERCISES_MINE=$work/none scripts/exercise.sh "$build" >"$work/out" 2>&1
    expect "N=$n: status" 2 $?
    expect "N=$n" "N=$n: expected a number from 1 to 12; make exercise lists them" "$(cat "$work/out")"
done
HINT=1 N='' scripts/exercise.sh "$build" >"$work/out" 2>&1
expect "a hint of no exercise" "2 HINT=1: of which exercise? make exercise N=4 HINT=1" "$? $(cat "$work/out")"
expect "nothing was made by that" "" "$(ls -d "$work/none" bad 2>/dev/null)"

mkdir "$work/mine"
N=5 EXERCISES_MINE=$work/mine scripts/exercise.sh "$build" >"$work/out" 2>&1
expect_match "the first run copies the skeleton" '05_online_softmax.c is yours now: a copy of the skeleton' "$work/out"
echo '/* mine */' >>"$work/mine/05_online_softmax.c"
kept=$(cksum <"$work/mine/05_online_softmax.c")
N=5 EXERCISES_MINE=$work/mine scripts/exercise.sh "$build" >"$work/out" 2>&1
expect "a second run leaves the file as it is" "$kept" "$(cksum <"$work/mine/05_online_softmax.c")"
expect_match "the next file is named" "^Not yet: open $work/mine/05_online_softmax.c, line [0-9]+\. .*HINT=1$" "$work/out"
touch "$work/file"
N=5 EXERCISES_MINE=$work/file scripts/exercise.sh "$build" >"$work/out" 2>&1
expect "no folder for the file" "2 cannot write $work/file/05_online_softmax.c" "$? $(cat "$work/out")"

hints=$(($(grep -c '^--$' exercises/05_online_softmax/hints.txt) + 1))
for ((i = 1; i <= hints; i++)); do
    N=5 HINT=1 EXERCISES_MINE=$work/mine scripts/exercise.sh "$build" >"$work/out" 2>&1
    expect "hint $i: one at a time" "0 hint $i of $hints" "$? $(head -n 1 "$work/out")"
    expect "hint $i: its text" "$(awk -v RS='\n--\n' -v n=$i 'NR == n' exercises/05_online_softmax/hints.txt | grep . | sed 's/^/  /')" \
        "$(tail -n +2 "$work/out")"
done
N=5 HINT=1 EXERCISES_MINE=$work/mine scripts/exercise.sh "$build" >"$work/out" 2>&1
expect_match "behind the last hint: the solution" '^That was the last hint. A solution: exercises/solutions/05' "$work/out"

EXERCISES_MINE=$work/mine scripts/exercise.sh "$build" >"$work/out" 2>&1
expect "the list: a line for each" "${#names[@]}" "$(grep -cE '^ +[0-9]+  .* (begun|solved|changed|-) +docs/book/' "$work/out")"
expect_match "the list: begun" '^ +5  .* begun ' "$work/out"
expect_match "the list: progress" "^0 of ${#names[@]} solved; next: make exercise N=1, " "$work/out"

# All solutions in one folder, then one of them changed.
for name in "${names[@]}"; do
    has_compiler "$name" || continue
    mkdir -p "$work/solved/.solved"
    cp "$work/$name/solution/.solved/$name" "$work/solved/.solved/"
done
EXERCISES_MINE=$work/solved scripts/exercise.sh "$build" >"$work/out" 2>&1
if has_compiler 10_coalesced; then
    expect "the list: all solved" "${#names[@]}" "$(grep -cE ' solved +docs/book/' "$work/out")"
    expect_match "the closing message" "^All ${#names[@]} are solved" "$work/out"
fi
echo >>"$work/solved/05_online_softmax.c"
EXERCISES_MINE=$work/solved scripts/exercise.sh "$build" >"$work/out" 2>&1
expect_match "the list: changed since it was solved" '^ +5  .* changed ' "$work/out"

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    expect "git ignores the student's files" "exercises/mine/05_online_softmax.c" "$(git check-ignore exercises/mine/05_online_softmax.c)"
fi
make --no-print-directory build="$build" exercise >"$work/out" 2>&1
expect "make exercise" 0 $?
make --no-print-directory build="$build" exercise N=13 >"$work/out" 2>&1
expect "make exercise N=13" "2 1" "$? $(grep -c '^N=13: expected' "$work/out")"
EXERCISES_MINE=$work/mine make --no-print-directory build="$build" exercise N=5 >"$work/out" 2>&1
expect "make exercise N=5, not solved: no error of make" "0 0 1" "$? $(grep -c '[*][*][*]' "$work/out") $(grep -c '^Not yet' "$work/out")"

finish
