#!/bin/bash
# run_tests.sh BUILD JOBS: runs every test; the last lines are one summary, kept in BUILD/summary too:
#
#   == 3680 cases in 35 s
#   skipped 11: no CUDA compiler
#   build: 3669 passed, 0 failed, 11 skipped
#
# A case is a line "pass NAME", "FAIL NAME" or "skip NAME REASON" of a test's output; a test that prints none is one
# case. LEAVE_OUT in the environment: the tests whose names it matches, a regular expression, do not run. Status 1 if a case failed, if no test ran, or if a test was skipped without a reason.
set -u
build=$1 jobs=$2
started=$SECONDS
results=$(mktemp)
trap 'rm -f "$results"' EXIT

log=$build/Testing/Temporary/LastTest.log
mkdir -p "${log%/*}"
: >"$log"

# CTest's own summary counts skipped tests as passed: left out.
ctest --test-dir "$build" --no-tests=error --output-on-failure -j "$jobs" ${LEAVE_OUT:+-E "$LEAVE_OUT"} | tee "$results" |
    sed -u -e '/^[0-9]*% tests passed/,/^Total Test time/d' -e '/^The following tests did not run:/,/^$/d'
status=${PIPESTATUS[0]}

# Of $results the outcome of each test, of CTest's log its cases; then the summary.
LC_ALL=C awk -v word="$(basename "$build")" '
    FNR == NR {
        if (match($0, /Test +#[0-9]+: /)) {
            rest = substr($0, RSTART + RLENGTH)
            test = substr(rest, 1, index(rest, " ") - 1)
            outcome[test] = rest ~ /\*\*\*Skipped / ? "skip" : rest ~ / Passed +[0-9.]+ sec/ ? "pass" : "FAIL"
        }
        next
    }
    /^[0-9]+\/[0-9]+ Testing: / { test = $3 }
    /^Output:/ { inside = 1 }
    /^<end of output>/ { inside = 0 }
    inside && /^(pass|FAIL|skip) / { cases[test, $1]++ }
    inside && /^skip / { sub(/^skip [^ ]+ ?/, ""); reasons[$0 == "" ? "no reason given" : $0]++ }
    END {
        for (test in outcome) {
            is = outcome[test]
            if (is == "skip" && !cases[test, "skip"]) {
                print "FAIL " test " was skipped without a line: skip NAME REASON"
                is = "FAIL"
            }
            told = cases[test, "pass"] + cases[test, "FAIL"] + cases[test, "skip"]
            if (is == "FAIL" && !cases[test, "FAIL"] || is == "pass" && !told) cases[test, is]++
            passed += cases[test, "pass"]
            failed += cases[test, "FAIL"]
            skipped += cases[test, "skip"]
        }
        printf "== %d cases in '$((SECONDS - started))' s\n", passed + failed + skipped
        sorted = "sort -k 3"
        fflush()
        for (reason in reasons) printf "skipped %d: %s\n", reasons[reason], reason | sorted
        close(sorted)
        printf "%s: %d passed, %d failed, %d skipped\n", word, passed, failed, skipped
        exit failed > 0 || passed + failed + skipped == 0
    }' "$results" "$log" >"$build/summary"
counted=$?
cat "$build/summary"
[ "$status" = 0 ] && [ $counted = 0 ]
