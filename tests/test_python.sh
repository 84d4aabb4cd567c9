#!/bin/bash
# Claim: python/treeattn declares every public function, struct and constant as the headers have them; its results are
# those of C, bit for bit; bad input raises an error that says what was expected, and nothing ends the process.
# Not sanitized: python3 itself would have to be.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
export PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
export TREEATTN_LIB=$TREEATTN_BUILD_DIR/python/libtreeattn.so
python=
while read -r found; do
    "$found" -c 'import numpy' 2>/dev/null </dev/null && python=$found && break
done < <(type -aP python3)
if [ -z "$python" ]; then
    echo "skip test_python no python3 with NumPy: apt-get install python3-numpy"
    exit 77
fi
cd "$TREEATTN_SOURCE_DIR" || exit 1
compiler=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$TREEATTN_BUILD_DIR/CMakeCache.txt")

# What CMakeLists.txt installs.
headers=() flags=()
for folder in "${rooms[@]}"; do
    flags+=("-I$folder")
    for header in "$folder"/*.h; do
        [[ $header =~ (_internal|_cpu_.+)\.h$ ]] || headers+=("$header")
    done
done

# script NAME ARGUMENTS...: its lines, and its status: a script that a signal ended has failed, too.
script() {
    local status=0
    "$python" "tests/python_$1.py" "${@:2}" >"$work/out" 2>&1 </dev/null || status=$?
    cat "$work/out"
    cases=$((cases + $(grep -c '^pass' "$work/out")))
    [ $status = 0 ] || fail "python_$1 ${*:2}" "it ended with status $status"
}

script headers "$compiler" "${headers[@]}"
script bad_input
script lives
script fuzz 4000 1
script fuzz 4000 2 attributes
if "$compiler" -std=c11 -O1 -Wall -Werror "${flags[@]}" -o "$work/same_bits" tests/python_same_bits.c \
    -L"${TREEATTN_LIB%/*}" -ltreeattn "-Wl,-rpath,${TREEATTN_LIB%/*}" 2>"$work/err"; then
    script results "$work/same_bits"
else
    fail "python_same_bits.c compiles" "$(cat "$work/err")"
fi

script examples

PYTHONPATH=python "$python" -m treeattn >"$work/out" 2>&1
expect_match "python3 -m treeattn lists the names" '^Branch.fork +kv_branch_fork, kv_branch_fork_at$' "$work/out"

finish && [ "$cases" -gt 450 ]
