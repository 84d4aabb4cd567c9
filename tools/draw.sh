#!/bin/bash
# draw.sh STEM: draws figures/STEM.svg and .png from STEM.gp and STEM.csv. The picture carries the hash of
# both and of the common style, so a stale one is noticed (tests/test_figures.sh), and no gnuplot version, so equal input
# gives equal files.
set -eu
cd "$(dirname "$0")/.."
stem=figures/$1
for image in "$stem.svg" "$stem.png"; do
    gnuplot -e "data='$stem.csv'; image='$image'" "$stem.gp"
done
hash=$(cat "$stem.gp" "$stem.csv" figures/style.gnuplot | sha256sum | cut -d ' ' -f 1)
sed -i -E 's/Produced by GNUPLOT [^"<]*/Produced by gnuplot /; s/Gnuplot version [^<]*/gnuplot/' "$stem.svg"
echo "<!-- gp+csv+style sha256 $hash -->" >>"$stem.svg"
