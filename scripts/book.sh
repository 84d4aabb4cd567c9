#!/bin/bash
# book.sh [BUILD]: the book and the other pages as HTML in BUILD/book, by Sphinx and MyST. Reading them needs no network.
# A warning is an error. What docs/book/conf.py and scripts/book_pages.py do with the pages: see there.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}

# The first python3 that has them: one that was installed beside Debian's may have not.
while read -r python; do
    ! "$python" -c 'import myst_parser, sphinx' 2>/dev/null </dev/null || break
done < <(type -aP python3)
if [ -z "$python" ]; then
    echo "make book needs Sphinx: sudo apt-get install -y --no-install-recommends python3-sphinx python3-myst-parser"
    exit 1
fi
mkdir -p "$build/book-pages" || exit 1
log=$build/book.log
if ! "$python" -m sphinx -q -W --keep-going -j auto -c docs/book -d "$build/book-doctrees" \
    "$build/book-pages" "$build/book" >"$log" 2>&1; then
    sed -e "s#^.*/$build/book-pages/##" -e 's#^WARNING: while setting up extension book_pages: ##' "$log"
    echo "FAIL make book: $(grep -c 'WARNING: ' "$log") warnings of Sphinx"
    exit 1
fi
echo "$build/book/index.html: $(find "$build/book" -name '*.html' | wc -l) pages"
