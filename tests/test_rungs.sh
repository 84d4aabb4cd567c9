#!/bin/bash
# Claim: the ladder stays a ladder. No rung adds more than 150 lines of code to the one before, unless the table below
# says why; no rung's files show an instruction or an idea before the rung that brings it, or include a file without
# using it; README's table of the ladder is the one that scripts/ladder_table.sh writes from the recorded times; and
# `make rung` checks a rung, and refuses a bad STEP or TREE with status 2.
set -u
unset MAKEFLAGS MFLAGS STEP TREE
cd "$TREEATTN_SOURCE_DIR" || exit 1
if [ -n "$(sed -n 's/^TREEATTN_SANITIZE:[A-Z]*=//p' "${TREEATTN_BUILD_DIR:?}/CMakeCache.txt")" ]; then
    echo "skip test_rungs the rungs as text are those of the plain build"
    exit 77
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0 checked=0
fail() {
    echo "FAIL $*"
    failed=$((failed + 1))
}

declare -A cap=(
    [naive]=360          # the first one: the state, the merge, the way from a plan to its keys
    [tensor_cores]=360   # the matrix fragments, their softmax and tasks, on which all later rungs stand
    [queue]=560          # the worker's verbs: tiles found ahead, tasks begun and ended, results of both shapes
    [merge_ahead]=240    # eight rows at a time, of one or four heads, in place of a loop of 12 lines
    [few_rows]=650       # a kernel of its own beside that of the rung before: no queue, slices, clusters
    [warpgroup]=170      # 40 of them list the operands of wgmma: REGISTERS_128
)
# What the code of no rung before this one may say; the rung itself must say it.
idea=(
    'split:__syncthreads'
    'tensor_cores:mma_16x8x16|a\.queue\.tasks'
    'pipeline:cp_async|ldmatrix|tile_chunk'
    'queue:queue_tile |a\.queue\.(tiles|starts)|worker_'
    'one_launch:load_acquire|atomicAdd|launch_cooperative'
    'merge_ahead:merge_start|merge_cursor'
    'masks:masked_shared|__ballot_sync'
    'warpgroup:warpgroup|wgmma'
    'last_arriver:is_small|is_last_arriver'
    'few_rows:launch_cluster|store_to|slice_stage|few_'
    'early_launch:wait_for_previous_launch|allow_next_launch|launch_early|griddepcontrol'
)

# ---- the rungs as text ----

# Their code, once for each file, under the same path in the work folder.
mkdir -p "$work"/gpu/{ladder,device,worker}
for file in gpu/{ladder,device,worker}/*.{cu,cuh,h}; do
    [ ! -f "$file" ] || scripts/rungs.sh code "$file" | grep -v '^#include' >"$work/$file"
done
code() { (cd "$work" && cat "$@"); }

names=() # of the rungs: naive, coalesced, ...
while file=$(ls gpu/ladder/step_${#names[@]}_*.cu 2>/dev/null); do
    name=${file#gpu/ladder/step_*_}
    names+=("${name%.cu}")
done
for ((n = 0; n < ${#names[@]}; n++)); do
    scripts/rungs.sh files $n >"$work/files.$n" || fail "the files of rung $n"
    mapfile -t files <"$work/files.$n"
    code "${files[@]}" >"$work/code.$n"

    lines=$(scripts/rungs.sh added $n)
    most=${cap[${names[n]}]:-150}
    checked=$((checked + 1))
    echo "rung $n ${names[n]} adds $lines lines, at most $most"
    [ "$lines" -le "$most" ] || fail "rung $n adds more than $most lines: say less, or say why in the table of tests/test_rungs.sh"
    [ "$lines" -gt 0 ] || fail "rung $n adds nothing"

    # A file is used if some other file of the closure names something that it defines.
    for file in "${files[@]:1}"; do
        checked=$((checked + 1))
        sed -nE 's/^#define ([A-Za-z_0-9]+).*/\1/p
            s/^(template <.*> )?struct (alignas\(.*\) )?([A-Za-z_0-9]+).*/\3/p
            s/^(template <.*> )?static [^(]*[ *]([A-Za-z_0-9]+)\(.*/\2/p
            s/^    ([A-Z_]+) =.*/\1/p
            s/^(template <.*> struct .*|enum) \{ *([A-Z_]+).*/\2/p' "$file" | grep -vE '_(CUH|H)$' >"$work/defined"
        mapfile -t others < <(grep -vxF "$file" "$work/files.$n")
        grep -qwFf "$work/defined" <(code "${others[@]}") || fail "rung $n includes $file and uses nothing of it"
    done
done
[ ${#names[@]} -ge 10 ] || fail "${#names[@]} rungs found"
for name in "${!cap[@]}"; do
    [[ " ${names[*]} " == *" $name "* ]] || fail "a cap for $name, which is no rung"
done
for entry in "${idea[@]}"; do
    first=0
    while [ $first -lt ${#names[@]} ] && [ "${names[first]}" != "${entry%%:*}" ]; do first=$((first + 1)); done
    [ $first -lt ${#names[@]} ] || { fail "${entry%%:*} is no rung"; continue; }
    checked=$((checked + 1))
    grep -qE "${entry#*:}" "$work/code.$first" || fail "rung $first does not say ${entry#*:}"
    for ((n = 0; n < first; n++)); do
        found=$(grep -nE "${entry#*:}" "$work/code.$n" | head -n 3)
        [ -z "$found" ] || fail "rung $n says what rung $first brings: $found"
    done
done

# ---- README's table ----

checked=$((checked + 1))
if grep -qxF '<!-- ladder -->' README.md; then
    scripts/ladder_table.sh >"$work/table" || fail "scripts/ladder_table.sh"
    diff <(sed -n '/^<!-- ladder -->$/,/^<!-- \/ladder -->$/p' README.md | sed '1d;$d') "$work/table" ||
        fail "README's table of the ladder is old: scripts/ladder_table.sh --write"
else
    echo "skip README's table: it has no line <!-- ladder -->"
fi

# In a copy with other times: --write brings them into the table and into the rungs' heads, twice the same.
mkdir "$work/copy" "$work/copy/figures"
cp -r scripts gpu "$work/copy"
sed -E 's/^("64 branches[^,]*,[^,]*,[^,]*,[^,]*,cost,step_2_split),[^,]*/\1,123.44/' figures/ladder.csv >"$work/copy/figures/ladder.csv"
printf '%s\n' before '<!-- ladder -->' old '<!-- /ladder -->' after >"$work/copy/README.md"
checked=$((checked + 4))
"$work/copy/scripts/ladder_table.sh" --write || fail "--write"
cp "$work/copy/README.md" "$work/once"
"$work/copy/scripts/ladder_table.sh" --write
cmp "$work/once" "$work/copy/README.md" || fail "--write a second time changes README"
[ "$(sed -n '1p;$p' "$work/once" | xargs)" = "before after" ] || fail "--write touches what is outside the two lines"
[ "$(grep -c '^|\[' "$work/once")" = ${#names[@]} ] || fail "the table has a line for each rung"
grep -q '^|\[2 split\](gpu/ladder/step_2_split.cu)|.*|123|' "$work/once" || fail "the table has the recorded time"
grep -q '^|floor|.*x||$' <(sed -n '/ladder -->/,$p' "$work/once") || fail "the table ends with the floor"
grep -q '^ \*   wins .* to 123 us on 64 branches' "$work/copy/gpu/ladder/step_2_split.cu" || fail "the head of rung 2 has the time"
grep -q '^ \*   wins .*[^0-9]123 to [0-9]* us on 64 branches' "$work/copy/gpu/ladder/step_3_shared_tile.cu" ||
    fail "the head of rung 3 has the time of the rung before"
sed -i '/ladder -->/d' "$work/copy/README.md"
"$work/copy/scripts/ladder_table.sh" --write 2>"$work/error" && fail "--write without the two lines succeeds"
grep -q 'expected one line <!-- ladder -->' "$work/error" || fail "--write names the lines that it lacks"

# ---- make diff, make rung ----

status_of() { # EXPECTED PATTERN COMMAND...: its status, and a line of its output
    local expected=$1 pattern=$2 status
    shift 2
    checked=$((checked + 1))
    "$@" >"$work/output" 2>&1
    status=$?
    [ $status = "$expected" ] || { fail "$*: status $status, expected $expected:"; head -n 20 "$work/output"; }
    grep -qE -- "$pattern" "$work/output" || { fail "$*: expected a line with '$pattern', got:"; head -n 20 "$work/output"; }
}
status_of 0 '^rung 5 adds [0-9]+ lines of code to rung 4' scripts/rungs.sh diff 5
status_of 0 '^ +[0-9]+  gpu/device/swizzle.cuh \(new\)' scripts/rungs.sh diff 5
status_of 2 'STEP: expected a rung, 0 to' scripts/rungs.sh diff ${#names[@]}
status_of 2 'it adds to none' scripts/rungs.sh diff 0
for step in '' -1 5x 100 "${#names[@]}"; do
    status_of 2 "STEP: expected a rung, 0 to $((${#names[@]} - 1)); got '$step'" scripts/rungs.sh run "$step" "$TREEATTN_BUILD_DIR"
done

program=$TREEATTN_BUILD_DIR/rung_emulated
if cmake --build "$TREEATTN_BUILD_DIR" --target rung_emulated >"$work/log" 2>&1; then
    for step in 1 5; do
        status_of 0 '^pass check beside tree_attention_ref: out at most' "$program" $step '1,3 / 50,9'
        status_of 0 "^rung   step_${step}_${names[step]}: [a-z]" "$program" $step '1,3/50,9'
        status_of 0 '^time   emulated on the CPU, no time$' "$program" $step '1,3/50,9'
    done
    status_of 2 "STEP: expected a rung, 0 to .*; got 'x'" "$program" x
    status_of 2 "TREE: expected 'NODES / TOKENS'" "$program" 5 1,3
    status_of 2 'TREE, tokens, column' "$program" 5 '1,3 / 50'
    status_of 2 'TREE, nodes, column' "$program" 5 '1;3 / 50,9'
    status_of 2 "TREE, tokens: expected one number per level; got '40,8\|9'" "$program" 5 '1,4 / 40,8|9'
    ones=$(printf ',1%.0s' {1..32}) # with the root 33 levels
    status_of 2 'TREE: expected at most 32 levels; got 33' "$program" 5 "1$ones / 2$ones"
    ones=${ones#,1}
    status_of 0 '^pass check' "$program" 5 "1$ones / 2$ones"
    status_of 0 '^tree   1,3/50,9: 3 queries' "$program" 5 $' 1,\t3\n/ 50,9\r'
    status_of 2 'TREE: too large to be checked here' "$program" 5 '1,64 / 2048,64'
    if [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ]; then
        export TREE='1,2 / 20,3'
        status_of 0 '^tree   1,2/20,3: 2 queries' scripts/rungs.sh run 5 "$TREEATTN_BUILD_DIR"
    fi
elif grep -qiE 'no rule|unknown target' "$work/log"; then
    echo "skip make rung: no C++ compiler"
else
    tail -n 20 "$work/log"
    fail "rung_emulated does not build"
fi

echo "$checked checks of ${#names[@]} rungs, $failed failed"
[ $failed = 0 ]
