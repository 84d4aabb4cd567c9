#!/bin/bash
# Claim: docs/explorer.html is what scripts/explorer.sh makes of explorer/ and the library; it is at most 120 KB and one
# file; in a browser all of it works by keyboard, in every scenario, light and dark, on a phone, without a fault, a
# request to the network, or a line that is wider than the page.
# Not sanitized: it runs nothing of the build.
set -u
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}"
cd "$TREEATTN_SOURCE_DIR" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 skipped=0
check() { # NAME, WHAT IS WRONG: nothing, or lines
    if [ -z "$2" ]; then echo "pass $1"; else echo "FAIL $1: $2"; failed=$((failed + 1)); fi
}
skip() {
    echo "skip $*"
    skipped=$((skipped + 1))
}
page=docs/explorer.html
again="run scripts/explorer.sh and commit $page"

scripts/explorer.sh --keep "$work/kept.html" >"$work/said" 2>&1
check "the page is explorer/ put together" "$(cat "$work/said"; cmp -s "$page" "$work/kept.html" || echo "$again")"
check "at most 120 KB" "$(wc -c <"$page" | awk '$1 > 120000 { print $1 " bytes" }')"
links=$(grep -oE 'href="[^"#:]+"' "$page" | sort -u | cut -d '"' -f 2)
check "it has links" "$(wc -w <<<"$links" | awk '$1 < 10')"
check "links to pages that exist" "$(while read -r link; do [ -e "docs/$link" ] || echo "$link"; done <<<"$links")"
scripts=(explorer/{scenario,panels,page}.js)
sources=("${scripts[@]}" explorer/{page.html,style.css})
check "no address but its own" "$(grep -oE '(https?:)?//[a-z0-9.-]+\.[a-z]+' "${sources[@]}")"
check "at most 700 lines of JavaScript" "$(cat "${scripts[@]}" | grep -cvE '^ *($|/?[*])' | awk '$1 > 700')"

# The same compiler makes the same bytes; of another one the numbers are compared.
if ! scripts/explorer.sh --wasm "$work/new.wasm" >"$work/said" 2>&1; then
    if ! grep -qE '^[a-z_/]+\.[ch]:[0-9:]+ (fatal )?error: ' <(grep -v "file not found" "$work/said"); then
        skip "explorer_compiled no clang for WebAssembly: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32"
    else
        check "the library compiles to WebAssembly" "$(cat "$work/said")"
    fi
else
    check "no warning" "$(cat "$work/said")"
    sed -n 's/^<script id="wasm" type="text\/plain">\(.*\)<\/script>$/\1/p' "$page" |
        base64 -d | gzip -d >"$work/old.wasm"
    clang=$(clang --version | sed -n '1s/^.*\(clang version [0-9.]*\).*/\1/p')
    libc=$(dpkg-query -W -f '${Version}' wasi-libc 2>/dev/null)
    if grep -qF "with $clang, wasi-libc $libc." "$page"; then
        check "the WebAssembly is that of the library" "$(cmp -s "$work/old.wasm" "$work/new.wasm" || echo "$again")"
    elif command -v node >/dev/null; then
        node explorer/replay.js "$work/new.wasm" explorer/replay.txt >"$work/new" 2>&1
        node explorer/replay.js "$page" explorer/replay.txt >"$work/old" 2>&1
        check "the library compiled anew gives the numbers of the page" "$(cmp "$work/old" "$work/new" 2>&1)"
    fi
fi

if ! command -v node >/dev/null; then
    skip "explorer_in_a_browser no node: apt-get install nodejs"
elif ! command -v chromium-headless-shell >/dev/null; then
    skip "explorer_in_a_browser no chromium-headless-shell: apt-get install chromium-headless-shell"
else
    node tests/explorer_browser.js "$page" ${EXPLORER_PICTURES:+"$EXPLORER_PICTURES"} || failed=$((failed + 1))
fi
exit $((failed > 0 ? 1 : skipped > 0 ? 77 : 0))
