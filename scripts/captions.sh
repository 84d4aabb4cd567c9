#!/bin/bash
# captions.sh [--list | --write] [STEM...]: derives every number in the captions and titles of the figures from their
# csv, by figures/STEM.awk, and compares; --list prints the derived numbers, --write puts them into the texts.
# Exit 1 if a number differs, has no derivation, or the csv does not bear out a sentence.
set -uo pipefail
cd "$(dirname "$0")/../figures" || exit 1
mode=
case ${1-} in --list | --write) mode=$1 && shift ;; esac
[ $# -gt 0 ] || set -- *.gp
new=$(mktemp -d) && trap 'rm -rf "$new" .text.new-$$' EXIT || exit 1
failed=0
for script in "$@"; do
    stem=${script%.gp}
    [ "$mode" != --list ] || echo "$stem"
    awk -f numbers.awk -f "$stem.awk" "$stem.csv" >"$new/derived"
    case $? in 0) ;; 1) failed=1 ;; *) failed=1 && continue ;; esac # 1: a sentence is not true; others: no numbers
    if [ "$mode" = --write ]; then
        for text in "$stem.md" "$stem.gp"; do
            awk -v write=1 -f ../scripts/captions.awk "$new/derived" "$text" >"$new/text" || { failed=1 && continue; }
            cmp -s "$new/text" "$text" && continue
            { cp "$new/text" ".text.new-$$" && mv -fT ".text.new-$$" "$text" && echo "figures/$text"; } || failed=1
        done
    fi
    awk -v list="${mode#--write}" -f ../scripts/captions.awk "$new/derived" "$stem.md" "$stem.gp" || failed=1
done
exit $failed
