#!/bin/bash
# draw.sh STEM: draws figures/STEM.svg and .png from STEM.gp and STEM.csv. The svg carries the hash of both and of the
# common style, so that tests/test_figures.sh notices a stale picture, and no gnuplot version, so that equal input gives
# equal files. Pictures are drawn in a new folder and replace the recorded ones only when both are whole. The gnuplot
# commands contain the names in that folder and never STEM, which may hold any character.
set -euo pipefail
cd "$(dirname "$0")/.."
stem=figures/$1
fail() {
    printf 'draw.sh: %s: %s\n' "$stem" "$*" >&2
    exit 1
}

new=$(mktemp -d figures/.draw.XXXXXX)
trap 'rm -rf "$new"' EXIT
cp "$stem.csv" "$new/data.csv"
for image in "$new/image.svg" "$new/image.png"; do
    gnuplot -e "data='$new/data.csv'; image='$image'" "$stem.gp" || fail "gnuplot ended with status $?"
done
# gnuplot 5.4 may end with status 0 on a full disk.
[[ $(tail -n 2 "$new/image.svg") = *'</svg>' ]] || fail "gnuplot wrote a part of the svg"
[ "$(tail -c 8 "$new/image.png" | od -An -tx1)" = " 49 45 4e 44 ae 42 60 82" ] || fail "gnuplot wrote a part of the png"

hash=$(cat "$stem.gp" "$stem.csv" figures/style.gnuplot | sha256sum | cut -d ' ' -f 1)
sed -E 's/Produced by GNUPLOT [^"<]*/Produced by gnuplot /; s/Gnuplot version [^<]*/gnuplot/' "$new/image.svg" \
    >"$new/signed.svg"
echo "<!-- gp+csv+style sha256 $hash -->" >>"$new/signed.svg"
mv -fT "$new/image.png" "$stem.png"
mv -fT "$new/signed.svg" "$stem.svg"
