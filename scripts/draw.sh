#!/bin/bash
# draw.sh STEM [SIZE FOLDER]: draws figures/STEM.svg and .png from STEM.gp and STEM.csv; or, in SIZE slide, for a projector,
# FOLDER/STEM.svg and .png. The svg carries the hash of script, csv and common style, so that tests/test_figures.sh
# notices a stale picture, and no gnuplot version, so that equal input gives equal files. A step, steps/NAME, names the csv
# of another figure in its first line ("# data: ladder.csv") and loads what its sequence has in common; the sentence that
# it prints becomes the svg's title. Pictures are drawn in a new folder and replace the recorded ones only when both are
# whole. The gnuplot commands contain the names in that folder and never STEM, which may hold any character.
set -euo pipefail
cd "$(dirname "$0")/.."
stem=figures/$1 size=${2:-page} pictures=${3:-figures}/$1
fail() {
    printf 'draw.sh: %s: %s\n' "$stem" "$*" >&2
    exit 1
}
case $size in page | slide) ;; *) echo "SIZE=$size: expected page or slide" >&2 && exit 1 ;; esac
[ "$size" = page ] || [[ $pictures != figures/* ]] || fail "slides need a folder of their own"

mkdir -p "${pictures%/*}"
new=$(mktemp -d figures/.draw.XXXXXX)
trap 'rm -rf "$new"' EXIT
csv=$stem.csv common=(figures/style.gnuplot)
if [[ $1 = steps/* ]]; then
    csv=figures/$(sed -n '1s/^# data: \([a-z0-9_/]*\.csv\)$/\1/p' "$stem.gp")
    mapfile -t sequence < <(sed -n "s/^load '\(.*\)'$/\1/p" "$stem.gp")
    common+=(figures/steps/frame.gnuplot "${sequence[@]}" figures/steps/at.awk)
    [ -f "$csv" ] || fail "its first line names no csv: # data: NAME.csv"
fi
cp "$csv" "$new/data.csv"
for image in "$new/image.svg" "$new/image.png"; do
    lesson=$(gnuplot -e "data='$new/data.csv'; image='$image'; size='$size'" "$stem.gp") ||
        fail "gnuplot ended with status $?"
done
# gnuplot 5.4 may end with status 0 on a full disk.
[[ $(tail -n 2 "$new/image.svg") = *'</svg>' ]] || fail "gnuplot wrote a part of the svg"
[ "$(tail -c 8 "$new/image.png" | od -An -tx1)" = " 49 45 4e 44 ae 42 60 82" ] || fail "gnuplot wrote a part of the png"

hash=$(cat "$stem.gp" "$csv" "${common[@]}" | sha256sum | cut -d ' ' -f 1)
sed -E 's/Produced by GNUPLOT [^"<]*/Produced by gnuplot /; s/Gnuplot version [^<]*/gnuplot/' "$new/image.svg" \
    >"$new/signed.svg"
if [ -n "$lesson" ]; then
    lesson=$(tr '\n' ' ' <<<"$lesson" | sed 's/ *$//; s/&/\&amp;/g; s/</\&lt;/g; s/[\\&|]/\\&/g')
    sed -i "s|<title>Gnuplot</title>|<title>$lesson</title>|" "$new/signed.svg"
fi
echo "<!-- gp+csv+style sha256 $hash -->" >>"$new/signed.svg"
mv -fT "$new/image.png" "$pictures.png"
mv -fT "$new/signed.svg" "$pictures.svg"
