#!/bin/bash
# Claim: the program runs the instruction set that the machine has or the one that --isa forces, also on processors that
# lack a part of one.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
if [ -n "$(sed -n 's/^TREEATTN_SANITIZE:[A-Z]*=//p' "${TREEATTN_BUILD_DIR:?}/CMakeCache.txt")" ]; then
    skip test_tool_isa "the choice is that of the plain build"
    exit 77
fi
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr

run doctor
read -r -a available <<<"$(sed -n 's/^. instruction_sets *\(.*\) (runs: .*/\1/p' "$work/out")"
best=${available[-1]}
# Where pairs are no faster than floats: reference/cpu/tree_isa.h:tree_isa_best.
[ "$best" != avx512_bf16 ] || best='avx512(_bf16)?'
expect_match "the best one by itself" "\\(runs: $best\\)" "$work/out"
for set in portable avx2 avx512 avx512_bf16 amx; do
    if [[ " ${available[*]} " == *" $set "* ]]; then
        run replay "$small" --attention flatten --storage bf16 --isa $set --format csv
        expect "replay --isa $set" "0 yes" "$status $(column within_limit)"
    else
        message="--isa: this machine or this build cannot run $set; it can: ${available[*]}"
        for verb in "replay $small" demo bench; do
            # shellcheck disable=SC2086
            expect_error "${verb%% *} --isa $set" 1 "$message\$" $verb --isa $set
        done
    fi
done
run demo --isa portable --format json --out "$work/demo"
expect "demo --isa portable: status" 0 "$status"
expect_match "demo --isa portable: says so" '"instructions": *"portable"' "$work/out"
for verb in "replay $small" demo bench; do
    # shellcheck disable=SC2086
    expect_error "${verb%% *} --isa avx1024" 2 "--isa: expected auto, portable, .* got 'avx1024'" $verb --isa avx1024
done

# on_cpu MODEL: the instruction sets that the program reports there, and whether the best of them runs.
on_cpu() {
    qemu-x86_64 -cpu "$1" "$TREEATTN_BIN" doctor >"$work/out" 2>/dev/null
    sed -n 's/^. instruction_sets *//p' "$work/out"
    OMP_NUM_THREADS=1 qemu-x86_64 -cpu "$1" "$TREEATTN_BIN" replay "$small" --max-iterations 2 --attention flatten \
        --storage fp16 --heads 2/1 --head-dim 16 --format csv >"$work/out" 2>/dev/null
    echo "$? $(column within_limit)"
}
if [ "${CI:-false}" = false ]; then # two thirds of the time
    skip "processors without AVX2, FMA or F16C" "emulated processors: in CI, or with CI=true"
elif ! command -v qemu-x86_64 >/dev/null; then
    skip "processors without AVX2, FMA or F16C" "no qemu-x86_64"
else
    portable=$'portable (runs: portable)\n0 yes'
    avx2=$'portable avx2 (runs: avx2)\n0 yes'
    expect "Nehalem" "$portable" "$(on_cpu Nehalem)"
    expect "Haswell" "$avx2" "$(on_cpu Haswell)"
    qemu-x86_64 -cpu Haswell "$TREEATTN_BIN" replay "$small" --attention node --isa avx512 >/dev/null 2>"$work/err"
    expect "Haswell --isa avx512: status" 1 $?
    expect_match "Haswell --isa avx512: message" \
        '^treeattn: --isa: this machine or this build cannot run avx512; it can: portable avx2$' "$work/err"
    for missing in avx2 fma f16c; do
        expect "Haswell without $missing" "$portable" "$(on_cpu Haswell,-$missing)"
    done
fi
finish
