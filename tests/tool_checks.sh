# Sourced by the tests of the program treeattn: cases, checks, a count at the end.
set -u
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
: "${TREEATTN_BIN:=$TREEATTN_SOURCE_DIR/build/treeattn}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cases=0 failed=0 skipped=0
# Whether the program is sanitized: then what a test repeats for the sake of its output alone is left out.
# shellcheck disable=SC2034
sanitized=$(grep -c '^TREEATTN_SANITIZE:[A-Z]*=.' "${TREEATTN_BUILD_DIR:-/none}/CMakeCache.txt" 2>/dev/null)
# The folders of the library, as CMakeLists.txt has them.
# shellcheck disable=SC2034 # by the tests that source this
mapfile -t rooms < <(sed -n 's/^set(rooms \(.*\))$/\1/p' "$TREEATTN_SOURCE_DIR/CMakeLists.txt" | tr ' ' '\n')

pass() {
    cases=$((cases + 1))
    echo "pass $1"
}
fail() {
    cases=$((cases + 1))
    failed=$((failed + 1))
    echo "FAIL $1: $2"
}
# skip NAME REASON: a case that cannot run here. run_tests.sh counts it and shows the reason.
skip() {
    skipped=$((skipped + 1))
    echo "skip ${1// /_} $2"
}

# run ARGUMENTS...: runs the program; its exit status is in $status, its output in $work/out and $work/err.
run() {
    "$TREEATTN_BIN" "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# expect NAME WANTED GOT
expect() {
    if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "expected '$2', got '$3'"; fi
}

# expect_match NAME PATTERN FILE
expect_match() {
    if grep -qE -- "$2" "$3"; then pass "$1"; else fail "$1" "expected /$2/ in: $(head -c 400 "$3")"; fi
}

# expect_error NAME STATUS PATTERN ARGUMENTS...: this status, one line on stderr that matches, nothing on stdout.
expect_error() {
    local name=$1 wanted=$2 pattern=$3
    shift 3
    run "$@"
    if [ "$status" != "$wanted" ]; then
        fail "$name" "expected status $wanted, got $status: $(cat "$work/err")"
    elif [ "$(wc -l <"$work/err")" != 1 ] || ! grep -qE -- "$pattern" "$work/err"; then
        fail "$name" "expected one line with /$pattern/, got: $(cat "$work/err")"
    elif [ -s "$work/out" ]; then
        fail "$name" "expected nothing on stdout"
    else
        pass "$name"
    fi
}

# column NAME: the value of a csv column in the last line of $work/out
column() {
    awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i } END { if (at) print $at }' "$work/out"
}

finish() {
    echo "$((cases - failed)) passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ] && [ "$cases" -gt 0 ]
}
