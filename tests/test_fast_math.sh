#!/bin/bash
# Claim: the library refuses to be compiled with -ffast-math and its parts, by CMake and source by source; a program
# that only calls it may be compiled so.
# Not sanitized: it runs nothing of the build.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
cd "$TREEATTN_SOURCE_DIR" || exit 1
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "${TREEATTN_BUILD_DIR:?}/CMakeCache.txt")
include=("${rooms[@]/#/-I}" -Igpu -Igpu/device -Igpu/worker -Igpu/emulate)
verdict() { if grep -q 'wrong under -ffast-math'; then echo refused; else echo accepted; fi; }
compile() { # compile FLAGS FILE: what the compiler says to it
    # shellcheck disable=SC2086 # several flags
    "$cc" -std=c11 $1 -fsyntax-only "${include[@]}" "$2" 2>&1
}

# Sources of the library whose code, comments apart, names float or double.
for source in reference/*.c reference/*/*.c; do
    if "$cc" -fpreprocessed -E -P -x c "$source" | grep -qwE 'float|double'; then
        expect "$source" refused "$(compile -ffast-math "$source" | verdict)"
    fi
done
expect "they are found" 1 "$((cases >= 8))"
for flag in -Ofast -ffinite-math-only; do
    expect "$flag" refused "$(compile $flag reference/tree_attention.c | verdict)"
done
expect "without the flag it compiles" "" "$(compile -O2 reference/tree_attention.c)"
for kernel in gpu/*.cu gpu/ladder/*.cu; do # all that compute read the same first header
    if grep -qE '^#include "(merge|row|tile|worker|storage|mma|device)\.cuh"' "$kernel"; then
        echo "#include \"$PWD/$kernel\"" >"$work/kernel.cpp"
        if command -v c++ >/dev/null; then
            expect "$kernel" refused "$(c++ -std=c++17 -ffast-math -DTREEATTN_EMULATE -E "${include[@]}" \
                "$work/kernel.cpp" 2>&1 | verdict)"
        else
            skip "$kernel" "no C++ compiler"
        fi
    fi
done

# A program of the user's.
echo '#include "softmax_state.h"' >"$work/state.c"
expect "softmax_state.h, whose arithmetic is compiled there" refused "$(compile -ffast-math "$work/state.c" | verdict)"
printf '#include "treeattn.h"\nint main(void) { return tree_isa_best() == TREE_ISA_AUTO; }\n' >"$work/caller.c"
expect "a caller compiles" "" "$(compile '-ffast-math -Wall -Wextra' "$work/caller.c")"

mkdir "$work/source" && sed '/^set(TREEATTN_SANITIZE/,$d' CMakeLists.txt >"$work/source/CMakeLists.txt"
mkdir "$work/source/tests" && : >"$work/source/tests/tests.cmake"
for flags in CMAKE_C_FLAGS=-ffast-math CMAKE_C_FLAGS=-funsafe-math-optimizations CMAKE_C_FLAGS_RELWITHDEBINFO=-Ofast \
    CMAKE_CXX_FLAGS=-ffast-math CMAKE_CUDA_FLAGS=-use_fast_math CMAKE_C_FLAGS=-fno-fast-math; do
    status=refused
    cmake -S "$work/source" -B "$work/build" "-DCMAKE_C_COMPILER=$cc" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DCMAKE_C_FLAGS= -DCMAKE_C_FLAGS_RELWITHDEBINFO= -DCMAKE_CXX_FLAGS= -DCMAKE_CUDA_FLAGS= "-D$flags" \
        >"$work/said" 2>&1 && status=accepted
    wanted=refused
    [[ $flags != *-fno-* ]] || wanted=accepted
    expect "CMake: $flags" $wanted "$status"
    [ $wanted = accepted ] || expect_match "CMake: $flags: why" 'among the compiler.s flags' "$work/said"
done
finish
