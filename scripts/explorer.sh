#!/bin/bash
# explorer.sh [OUT]: makes the page docs/explorer.html (OUT) from explorer/ and, compiled to WebAssembly, the library.
# explorer.sh --keep [OUT]: the same with the WebAssembly of docs/explorer.html: needs no compiler.
# explorer.sh --wasm OUT.wasm: the WebAssembly alone.
set -eu
cd "$(dirname "$0")/.."
page=docs/explorer.html

# The library without its checks and texts, which print.
sources() {
    printf '%s\n' allocator/*.c reference/*.c reference/shape/*.c reference/plan/*.c reference/eviction/*.c |
        grep -vE '_(check|text|explain)\.c$'
    echo gpu/plan_deal.c
    echo gpu/plan_queue.c
    echo explorer/glue.c
}
mapfile -t sources < <(sources)
flags=(-std=c11 -ffp-contract=off -Wall -Wextra -Iexplorer -Iallocator -Ireference -Ireference/shape -Ireference/plan
    -Ireference/eviction -Igpu)
apt="sudo apt-get install -y --no-install-recommends clang lld wasi-libc libclang-rt-dev-wasm32"

# No stdio; an assert is a trap; the only exports are those of explorer.h.
wasm() {
    local log
    log=$(mktemp)
    if ! clang --target=wasm32-wasi -Oz -mllvm -inline-threshold=0 -Iexplorer/wasm "${flags[@]}" "${sources[@]}" \
        -mexec-model=reactor -Wl,--export=explorer_call,--export=explorer_numbers,-z,stack-size=262144 \
        -Wl,--strip-all,--compress-relocations \
        -o "$1" 2>"$log"; then
        command -v clang >/dev/null && cat "$log" >&2
        echo "explorer.sh needs clang for WebAssembly: $apt" >&2
        rm -f "$log"
        exit 1
    fi
    cat "$log" >&2
    rm -f "$log"
}

# Fills @style@, @script@, @wasm@ and @compiler@; without the indentation and the comments, to keep the page small.
plain() { sed -e 's/^ *//' -e 's/ *\/\* .* \*\/$//' -e '/^$/d' -e '/^\/\* /,/ \*\/$/d' "$@"; }
put_together() { # COMPILER BASE64-FILE
    local line
    while IFS= read -r line; do
        case $line in
        @style@*) plain explorer/style.css; echo "${line#@style@}" ;;
        @script@*) plain explorer/{scenario,panels,page}.js; echo "${line#@script@}" ;;
        *@wasm@*) printf '%s' "${line%%@wasm@*}"; cat "$2"; echo "${line#*@wasm@}" ;;
        *) echo "${line/@compiler@/$1}" ;;
        esac
    done <explorer/page.html
}

if [ "${1-}" = --wasm ]; then
    wasm "$2"
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "${1-}" = --keep ]; then
    shift
    sed -n 's/^<script id="wasm" type="text\/plain">\(.*\)<\/script>$/\1/p' "$page" | tr -d '\n' >"$work/base64"
    compiler=$(sed -n 's/.*Made by <code>scripts\/explorer.sh<\/code> with \(.*\)\. In depth:$/\1/p' "$page")
else
    wasm "$work/wasm"
    gzip -9n <"$work/wasm" | base64 -w 0 >"$work/base64"
    compiler=$(clang --version | sed -n '1s/^.*\(clang version [0-9.]*\).*/\1/p')
    compiler+=", wasi-libc $(dpkg-query -W -f '${Version}' wasi-libc 2>/dev/null)"
fi
put_together "$compiler" "$work/base64" >"$work/page"
mv "$work/page" "${1:-$page}"
chmod 644 "${1:-$page}"
