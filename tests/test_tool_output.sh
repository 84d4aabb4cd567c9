#!/bin/bash
# Claim: every verb has a help with an example, writes csv with a constant number of fields and JSON that parses, and
# neither colour nor carriage returns where they are not wanted.
# shellcheck disable=SC2016 # the variable is for the shell that script starts
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
escape=$(printf '\033')

run --version
expect_match "version" '^treeattn [0-9]+\.[0-9]+\.[0-9]+$' "$work/out"
run --help
expect "help: status" 0 "$status"
for verb in demo think replay plan evict step attend bench tune doctor; do
    expect_match "help names $verb" "^  $verb " "$work/out"
done
for verb in demo think replay plan evict step attend bench tune doctor; do
    run $verb --help
    expect "$verb --help: status" 0 "$status"
    for part in Usage Options Example -- '--format' 'Exit status'; do
        [ "$part" != -- ] || continue
        expect_match "$verb --help: $part" "$part" "$work/out"
    done
    grep -oE '^  --[a-z-]+' "$work/out" | sort | uniq -d >"$work/twice"
    expect "$verb --help: no option twice" "" "$(cat "$work/twice")"
    sed -n '/^Example/,$p' "$work/out" >"$work/example"
    expect_match "$verb --help: an example of the verb" "^  treeattn $verb" "$work/example"
done

levels='1,3,9 / 40,20,10'
verbs=("replay|$small" "replay|$small|--attention|cost" "plan|--tree|$levels" "plan|--tree|$levels|--variant|all"
    "plan|--tree|$levels|--strategy|flatten|--items" "plan|--trace|$small|--iteration|5" "step" "step|--tokens|1"
    "step|--tree|$levels" "step|--tree|$levels|--strategy|flatten|--heads|4/2" "attend|--tree|$levels"
    "attend|--tree|$levels|--strategy|flatten|--partials" "attend|--trace|$small"
    "evict|--stream|topics|--tokens|40" "evict|--trace|$small|--policy|h2o|--budget|5"
    "doctor" "demo|--out|$work/demo" "demo|--out|$work/odd \"name\", \\")
[ "$sanitized" != 1 ] || unset 'verbs[-2]' # the demo in an odd folder is enough
for words in "${verbs[@]}"; do
    IFS='|' read -ra command <<<"$words"
    name="${command[*]//"$work"/}"
    name="${name//"$TREEATTN_SOURCE_DIR"/}"
    if [ "${command[0]}" != demo ]; then
        run "${command[@]}" --format csv
        expect "csv: $name" "0 1" "$status $(sed 's/"[^"]*"//g' "$work/out" | awk -F, '{ print NF }' | sort -u | wc -l)"
    fi
    run "${command[@]}" --format json
    expect "json: status: $name" 0 "$status"
    if command -v python3 >/dev/null; then
        python3 -m json.tool <"$work/out" >/dev/null 2>"$work/err"
        expect "json parses: $name" 0 $?
    else
        skip "json parses: $name" "no python3"
    fi
    [[ $sanitized != 1 || ${command[0]} != demo ]] || continue # test_tool_demo runs it, sanitized too
    run "${command[@]}"
    expect "no colour off a terminal: $name" 0 "$(grep -c "$escape" "$work/out" "$work/err" | grep -vc ":0$")"
done

# on_terminal VARIABLE=VALUE... : a verb on a pseudo terminal with these variables.
on_terminal() {
    env -u NO_COLOR -u CLICOLOR -u CLICOLOR_FORCE TERM=xterm "$@" script -qec '"$program" doctor' /dev/null </dev/null
}
export program="$work/it's \$1 program" # script gives its command to a shell
ln -s "$TREEATTN_BIN" "$program"
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    on_terminal >"$work/out"
    expect_match "terminal: colour" "$escape" "$work/out"
    for variable in NO_COLOR=1 CLICOLOR=0 TERM=dumb; do
        on_terminal $variable >"$work/out"
        expect "terminal, $variable: no colour" 0 "$(grep -c "$escape" "$work/out")"
    done
else
    for variable in colour NO_COLOR=1 CLICOLOR=0 TERM=dumb; do
        skip "terminal, $variable" "no pseudo-terminal, or no program script"
    done
fi
CLICOLOR_FORCE=1 run doctor
expect_match "CLICOLOR_FORCE: colour" "$escape" "$work/out"
NO_COLOR=1 CLICOLOR_FORCE=1 run doctor
expect "NO_COLOR beats CLICOLOR_FORCE" 0 "$(grep -c "$escape" "$work/out")"

mkdir "$work/empty"
PATH=$work/empty run doctor
expect "doctor: what is missing is no failure" 0 "$status"
expect_match "doctor: says what to install" '^- gnuplot .*gnuplot-nox' "$work/out"
finish
