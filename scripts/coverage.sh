#!/bin/bash
# coverage.sh BUILD JOBS: runs the tests in an instrumented build, then prints line and branch coverage of the library.
# A build, a test or a count that fails ends it with a status other than 0: coverage of half a run would mislead.
set -euo pipefail
build=$1 jobs=$2
cmake -S . -B "$build" -DTREEATTN_COVERAGE=ON -DCMAKE_BUILD_TYPE=Debug >/dev/null
cmake --build "$build" --parallel "$jobs" | { grep -v "^\[" || true; }
find "$build" -name '*.gcda' -delete
scripts/run_tests.sh "$build" "$jobs" | tail -n 15
if command -v gcovr >/dev/null; then
    gcovr --root . --filter allocator/ --filter reference/ --csv - "$build" | awk -F, '
        function row(name, lines, hit, branches, taken) {
            printf "%-42s %5d / %5d lines %5.1f %%   %5d / %5d branches %5.1f %%\n", name, hit, lines,
                lines ? 100 * hit / lines : 100, taken, branches, branches ? 100 * taken / branches : 100
        }
        NR > 1 { row($1, $2, $3, $5, $6); lines += $2; hit += $3; branches += $5; taken += $6 }
        END { row("all", lines, hit, branches, taken) }'
else
    echo "gcovr not found: counts by gcov; for one table: sudo apt-get install -y --no-install-recommends gcovr"
    find "$PWD/$build/CMakeFiles/treeattn.dir" -name '*.gcda' -print0 | (cd "$build" && xargs -0 -n 1 gcov -n -b) |
        grep -A 3 -E "^File '[^']*(allocator|reference)/" | grep -v '^--'
fi
