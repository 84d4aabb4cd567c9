#!/bin/bash
# Claim: the WebAssembly in docs/explorer.html gives the same numbers as the native library, bit by bit, for every
# panel, strategy, policy and scope of explorer/replay.txt; it imports nothing.
set -u
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}"
cd "$TREEATTN_SOURCE_DIR" || exit 1
native=${TREEATTN_BUILD_DIR:-build}/explorer_replay
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# glibc has a second exp and log for processors with FMA, which round a few results otherwise.
GLIBC_TUNABLES=glibc.cpu.hwcaps=-FMA,-AVX2 "$native" explorer/replay.txt >"$work/native" || {
    echo "FAIL explorer_replay: status $?"
    exit 1
}
failed=0
check() { # NAME, WHAT IS WRONG: nothing, or lines
    if [ -z "$2" ]; then echo "pass $1"; else echo "FAIL $1: $2"; failed=$((failed + 1)); fi
}
calls=$(grep -cvE '^(#|$)' explorer/replay.txt)
check "every call was played" "$(grep -c ': ' "$work/native" | grep -vx "$calls")"
check "every call has its answer" "$(grep -cE ': [0-9]+$' "$work/native" | awk -v calls="$calls" '$1 < calls - 10')"
if command -v node >/dev/null; then
    node explorer/replay.js docs/explorer.html explorer/replay.txt >"$work/page" 2>&1
    check "the page's WebAssembly gives the native bits" "$(diff "$work/native" "$work/page" | head -n 5)"
else
    echo "skip explorer_in_node no node: apt-get install nodejs"
    exit $((failed > 0 ? 1 : 77))
fi
exit $((failed > 0))
