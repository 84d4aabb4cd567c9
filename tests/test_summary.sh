#!/bin/bash
# Claim: run_tests.sh ends with one summary that counts cases, not programs: passed, failed, skipped by reason. No skip
# is without its reason, and a test that died, was not built or contradicts its own lines is a failure.
# Not sanitized: it runs nothing of the build.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
mkdir "$work/some tests"
cd "$work/some tests" || exit 1

# tests NAME COMMAND...: a folder of these tests, as CTest reads it.
tests() {
    rm -rf suite && mkdir suite
    while [ $# -gt 0 ]; do
        printf 'add_test(%s sh -c [=[%s]=])\nset_tests_properties(%s PROPERTIES SKIP_RETURN_CODE 77)\n' "$1" "$2" "$1"
        shift 2
    done >suite/CTestTestfile.cmake
}
# expect_summary CASE STATUS LINES: how run_tests.sh ends, its heading with the time apart.
expect_summary() {
    local status
    bash "$TREEATTN_SOURCE_DIR/scripts/run_tests.sh" suite 2 >output 2>&1
    status=$?
    expect "$1" "$2 $3" "$status $(sed '1,/^== /d' output)"
}
skip_gpu="echo 'skip test_gpu no CUDA compiler'; exit 77"

tests a 'echo pass a' b 'echo "pass b a note"'
expect_summary "all pass" 0 'suite: 2 passed, 0 failed, 0 skipped'
expect_match "the total" '^== 2 cases in [0-9]+ s$' output
expect "kept in a file" "$(tail -n 2 output)" "$(cat suite/summary)"
tests a 'echo pass a' gpu_1 "$skip_gpu" gpu_2 "$skip_gpu" traces 'echo "skip t no traces"; exit 77'
expect_summary "skipped programs, by reason" 0 'skipped 2: no CUDA compiler
skipped 1: no traces
suite: 1 passed, 0 failed, 3 skipped'
expect "the headline of CTest is left out" 0 "$(grep -c 'tests passed' output)"
tests script 'echo "pass one case"; echo "skip drawn_twice no gnuplot"; echo "pass two"'
expect_summary "a case of a script that goes on" 0 'skipped 1: no gnuplot
suite: 2 passed, 0 failed, 1 skipped'
tests script 'echo 12 references checked'
expect_summary "a test without lines is a case" 0 'suite: 1 passed, 0 failed, 0 skipped'
tests a 'echo pass a; echo FAIL b; echo FAIL c; exit 1' d 'echo pass d'
expect_summary "each failed case counts" 1 'suite: 2 passed, 2 failed, 0 skipped'
tests a 'echo pass a; kill -SEGV $$'
expect_summary "died after its last line" 1 'suite: 1 passed, 1 failed, 0 skipped'
tests a 'echo FAIL a; exit 0'
expect_summary "status 0 in spite of a failure" 1 'suite: 0 passed, 1 failed, 0 skipped'
tests a 'echo pass a' lost 'echo "skip: no python3"; exit 77'
expect_summary "skipped without its reason" 1 'suite: 1 passed, 1 failed, 0 skipped'
expect_match "skipped without its reason: named" '^FAIL lost was skipped without' output
tests a 'echo "skip a"; exit 77'
expect_summary "an empty reason is shown" 0 'skipped 1: no reason given
suite: 0 passed, 0 failed, 1 skipped'
tests a 'echo pass a' long.one 'echo FAIL long.one; exit 1'
LEAVE_OUT='^long[.]' expect_summary "left out on request" 0 'suite: 1 passed, 0 failed, 0 skipped'
tests a 'echo pass a'
echo 'add_test(b.NOT_BUILT no-such-program)' >>suite/CTestTestfile.cmake
expect_summary "not built" 1 'suite: 1 passed, 1 failed, 0 skipped'
tests
expect_summary "no test at all" 1 'suite: 0 passed, 0 failed, 0 skipped'
finish
