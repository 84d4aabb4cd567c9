#!/bin/bash
# Claim: make book gives each page of docs/ and figures/, and each notebook, as HTML that needs no network: without dead
# links or anchors, each picture with its text, the chapters in order, all lines of the source; in a browser, without
# errors, no page is wider than a phone, and a dark one is dark. Where Sphinx is missing, make book says so in one line.
# Not sanitized: it runs nothing of the build.
set -u
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}"
cd "$TREEATTN_SOURCE_DIR" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
check() { # NAME, WHAT IS WRONG: nothing, or lines
    if [ -z "$2" ]; then echo "pass $1"; else echo "FAIL $1: $2"; failed=$((failed + 1)); fi
}
build=${TREEATTN_BUILD_DIR:-build}
mkdir "$work/missing" && echo 'raise ImportError' >"$work/missing/sphinx.py"
PYTHONPATH=$work/missing scripts/book.sh "$work" >"$work/said" 2>&1
check "without Sphinx: status 1 and one line" "$(echo "1 make book needs Sphinx: sudo apt-get install -y" \
    "--no-install-recommends python3-sphinx python3-myst-parser" | diff - <(echo "$? $(cat "$work/said")"))"
scripts/book.sh "$build" >"$work/said" 2>&1
case $?:$(cat "$work/said") in
0:*) ;;
1:'make book needs Sphinx'*)
    echo "skip test_book_html no Sphinx with MyST: apt-get install python3-sphinx python3-myst-parser"
    exit 77
    ;;
*) check "make book" "$(cat "$work/said")" ;;
esac
python3 tests/book_html.py "$build/book" || failed=$((failed + 1))

# In a browser, 360 pixels wide: light (1) and dark (0).
browser() { # SCHEME URL: what Chromium makes of a page; what it says of errors is added to $work/console
    chromium-headless-shell --no-sandbox --user-data-dir="$(mktemp -d -p "$work")" --disable-background-networking \
        --allow-file-access-from-files --enable-logging=stderr --blink-settings=preferredColorScheme="$1" \
        --virtual-time-budget=10000 --dump-dom "$2" 2>"$work/log"
    grep -F ':CONSOLE' "$work/log" >>"$work/console"
}
if command -v chromium-headless-shell >/dev/null; then
    python3 tests/book_html.py "$build/book" frames 360 >"$work/frames.html"
    for scheme in 1:light 0:dark; do
        name=${scheme#*:} frames=$(grep -c '<iframe' "$work/frames.html")
        browser "${scheme%:*}" "file://$work/frames.html" | sed 's/<pre id="found">/&\n/' | grep '^PAGE|' >"$work/found"
        check "$name: all frames have been seen" "$(wc -l <"$work/found" | grep -vx "$frames")"
        check "$name: no page is wider than 360 pixels" \
            "$(awk -F '|' '$4 > 0 { print $2 " by " $4 ": " $5 }' "$work/found")"
        check "$name: headings, pictures and colours" \
            "$(awk -F '|' -v want="$name" '$3 != "h1" || $6 != "-" || $7 != want { print }' "$work/found")"
    done
    browser 1 "file://$(realpath "$build")/book/search.html?q=softmax" >"$work/found"
    check "the search finds a page" "$(grep -q 'href="docs/glossary.html' "$work/found" || head -c 300 "$work/found")"
    check "no error in the console" "$(cat "$work/console")"
else
    echo "skip pages_in_a_browser no chromium-headless-shell: apt-get install chromium-headless-shell"
fi
exit $((failed > 0))
