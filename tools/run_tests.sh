#!/bin/bash
# run_tests.sh BUILD JOBS: every test, then why some were skipped. Exit status of ctest; no test at all is a failure.
set -u
ctest --test-dir "$1" --no-tests=error --output-on-failure -j "$2"
status=$?
grep -h '^skip ' "$1"/Testing/Temporary/LastTest.log 2>/dev/null | cut -d ' ' -f 3- | sort | uniq -c |
    sed 's/^ *\([0-9]*\) /skipped \1: /'
exit $status
