#!/bin/bash
# Claim: everything that the documents name exists: `path/file.c:symbol`, relative links, make verbs. No file contains a
# path of the machine that it was written on, a mirror has the section comments of its reference, and a rung the
# recorded times.
# Not sanitized: it runs nothing of the build.
# shellcheck disable=SC2016 # backquotes in patterns
set -u
cd "${TREEATTN_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
failed=0 checked=0
fail() {
    echo "FAIL $*"
    failed=$((failed + 1))
}

outside_fences() { awk '/^ *(```|~~~)/ { inside = !inside; next } !inside' "$1"; }

mapfile -t documents <<<"$(find . -path ./.git -prune -o -path './build*' -prune -o -name '*.md' -print | sort)"
for document in "${documents[@]}"; do
    while IFS=: read -r file symbol && [ -n "$file" ]; do
        checked=$((checked + 1))
        if [ ! -f "$file" ]; then
            fail "$document names $file: no such file"
        elif ! grep -qw -- "$symbol" "$file"; then
            fail "$document names $file:$symbol: no such symbol"
        fi
    done <<<"$(grep -oE '`[A-Za-z0-9_./-]+\.(c|h|cu|cuh|py|sh|cmake):[A-Za-z_][A-Za-z0-9_]*`' "$document" | tr -d '`')"
    while read -r file && [ -n "$file" ]; do
        checked=$((checked + 1))
        [ -e "$file" ] || [ -e "$(dirname "$document")/$file" ] || fail "$document names $file: no such file"
    done <<<"$(grep -oE '`(allocator|reference|gpu|measure|tests|figures|tools|scripts|cmake|docs|notebooks|python)/[A-Za-z0-9_./-]+\.[a-z]+`' "$document" |
        tr -d '`')"
    while read -r link && [ -n "$link" ]; do
        checked=$((checked + 1))
        [ -e "$(dirname "$document")/${link%%#*}" ] || fail "$document links to $link: no such file"
    done <<<"$(outside_fences "$document" | grep -oE '\]\([^)#][^)]*\)' | sed 's/^](//; s/)$//; s/ ".*//' | grep -vE '^[a-z]+:')"
    while read -r verb && [ -n "$verb" ]; do
        checked=$((checked + 1))
        grep -qE "^$verb:" Makefile || fail "$document names make $verb: no such verb"
    done <<<"$(grep -oE '`make [a-z]+`' "$document" | tr -d '`' | cut -d ' ' -f 2)"
done

# The anchor of each heading as GitHub forms it: lower case, blanks as hyphens, without other signs; the second heading with
# the same text gets -1. A link may name one, in its own page or another: FILE#ANCHOR.
headings() { # FILE#ANCHOR of each heading of the files
    awk 'FNR == 1 { fence = "" }
        match($0, /^ *(```+|~~~+)/) { mark = substr($0, RSTART, RLENGTH); sub(/^ */, "", mark)
            if (fence == "") fence = mark; else if (index(mark, fence) == 1) fence = ""; next }
        fence == "" && /^#+ / {
            text = tolower($0); sub(/^#+ +/, "", text); sub(/ +#*$/, "", text)
            gsub(/<!--[^>]*-->/, "", text); gsub(/\]\([^)]*\)/, "", text); gsub(/[^a-z0-9_ -]/, "", text); gsub(/ /, "-", text)
            anchor = FILENAME "#" text
            print anchor (count[anchor]++ ? "-" count[anchor] - 1 : "")
        }' "$@"
}
page_ids() { # FILE#ID of each element of an HTML page that has an id
    local page
    for page in "$@"; do grep -oE ' id="[^"]*"' "$page" | sed -E "s|^ id=\"(.*)\"\$|$page#\1|"; done
}
anchored_links() { # FILE:LINE TARGET#ANCHOR of each link in the files
    awk 'FNR == 1 { fence = "" }
        match($0, /^ *(```+|~~~+)/) { mark = substr($0, RSTART, RLENGTH); sub(/^ */, "", mark)
            if (fence == "") fence = mark; else if (index(mark, fence) == 1) fence = ""; next }
        fence == "" {
            gsub(/`[^`]*`/, "")
            while (match($0, /\]\([^) ]*#[^) ]*/)) {
                link = substr($0, RSTART + 2, RLENGTH - 2); $0 = substr($0, RSTART + RLENGTH)
                if (link !~ /^[a-z]+:/) print FILENAME ":" FNR " " link
            }
        }' "$@"
}
dead_anchors() { # FILE:LINE TARGET#ANCHOR of each link in the files to a heading, or place of the explorer, that is not there
    local place link target known
    known=$'\n'$(headings "$@" && page_ids docs/explorer.html)$'\n'
    while read -r place link && [ -n "$link" ]; do
        target=${link%%#*} target=${target:+$(dirname "${place%%:*}")/$target} target=${target:-${place%%:*}}
        case $known in *$'\n'"$(realpath -m --relative-to=. "$target")#${link#*#}"$'\n'*) ;; *) echo "$place $link" ;; esac
    done < <(anchored_links "$@")
}
checked=$((checked + $(anchored_links "${documents[@]#./}" | wc -l)))
dead=$(dead_anchors "${documents[@]#./}")
[ -z "$dead" ] || fail "links to headings that are not there: $dead"
sample=$(mktemp -d) && mkdir "$sample/sub"
# shellcheck disable=SC2064 # the folder of now
trap "rm -rf '$sample'" EXIT
printf '%s\n' '# A `b_c`, d-e: [f](x.md#g)' '## A' '```sh' '# Not a heading' '[y](#y)' '```' '#### A' '[1](#a) [2](#a-1) [3](#a-2)' \
    '[4](sub/z.md#z) [5](sub/z.md#a)' '`[6](#code)` [7](#not-a-heading)' >"$sample/x.md"
printf '%s\n' '# Z' '[1](../x.md#a-b_c-d-e-f) [2](../x.md#Z)' >"$sample/sub/z.md"
mkdir "$sample/docs" && echo '<p id="a"><i id="b">' >"$sample/docs/explorer.html"
echo '[1](docs/explorer.html#b) [2](docs/explorer.html#c)' >>"$sample/x.md"
planted=$(cd "$sample" && dead_anchors x.md sub/z.md | tr '\n' ' ')
expected='x.md:1 x.md#g x.md:8 #a-2 x.md:9 sub/z.md#a x.md:10 #not-a-heading x.md:11 docs/explorer.html#c sub/z.md:2 ../x.md#Z '
[ "$planted" = "$expected" ] || fail "of the planted links dead are '$expected', reported were '$planted'"

# Tracked files, or all files where this is no clone. The patterns are split so that this file does not match itself.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1 && [ -n "$(git ls-files | head -n 1)" ]; then
    mapfile -t files <<<"$(git ls-files)"
else
    built=./$(basename "${TREEATTN_BUILD_DIR:-build}")
    mapfile -t files <<<"$(find . -path ./.git -prune -o -path './build*' -prune -o -path "$built" -prune -o -type f -print)"
fi
slash=/
machine_path="(^|[ \"'=(\`:])${slash}(work|tmp|home|root|Users)${slash}[A-Za-z0-9_]"
found=$(grep -nIE "$machine_path" "${files[@]}" 2>/dev/null)
checked=$((checked + 1))
[ -z "$found" ] || fail "paths of one machine: $found"

# Section comments: one-line comments inside the body of the reference. The comments of a mirror say them too, in the
# same order; they may add to them, and speak of items where the reference speaks of queries. A mirror in several files
# is their names in the order of reading.
sections() { sed -n "s#^ \{4,\}/\* \(.*[^ ]\) *\*/\$#\1#p" "$1" | sed "s/query's/item's/"; }
comments() { cat "$@" | grep -E '^ *(/\*| \*)' | tr -d '\n' | sed -E 's# *(/\*| \*) ?# #g'; }
reference=reference/tree_attention.c
[ "$(sections $reference | wc -l)" -ge 5 ] || fail "$reference has lost its section comments"
mirrors=(reference/cpu/tree_attention_cpu.c gpu/tree_attention_gpu.cu)
for step in gpu/ladder/step_[0-5]_*.cu; do mirrors+=("$step gpu/device/merge.cuh"); done
mirrors+=("gpu/ladder/step_6_queue.cu gpu/device/merge.cuh" gpu/ladder/step_12_early_launch.cu
    "gpu/ladder/step_13_few_rows.cu gpu/device/merge_cluster.cuh")
for mirror in "${mirrors[@]}"; do
    # shellcheck disable=SC2086 # several names
    rest=$(comments $mirror)
    while read -r section && [ -n "$section" ]; do
        checked=$((checked + 1))
        case $rest in
        *"$section"*) rest=${rest#*"$section"} ;;
        *) fail "$mirror lacks, or has too early, the section '$section' of $reference" ;;
        esac
    done <<<"$(sections $reference)"
done

# README's first link is the shortest way in; it leads to the figures and to the map of the pages, docs/README.md, which leads
# to every page and chapter.
links_of() { # FILE, seen from the root: the files that it links to
    grep -oE '\]\([^):]+\)' "$1" | sed -E "s#^\]\(##; s/(\#.*)?\)\$//; s#^#$(dirname "$1")/#" | xargs -r realpath -m --relative-to=.
}
mapfile -t linked <<<"$(links_of README.md)"
[ "${linked[0]}" = docs/one_file.c ] || fail "README's first link is ${linked[0]}"
for page in docs/README.md docs/book/README.md figures/*.md; do
    checked=$((checked + 1))
    printf '%s\n' "${linked[@]}" | grep -qxF "$page" || fail "README does not link to $page"
done
mapped=$(links_of docs/README.md)
for page in docs/*.md docs/book/*.md; do
    [ "$page" != docs/README.md ] || continue
    checked=$((checked + 1))
    grep -qxF "$page" <<<"$mapped" || fail "docs/README.md does not link to $page"
done

# Its table of rooms has the folders that test_layers.sh knows.
rooms=$(sed -nE "/^table='/,/^'/s#^([a-z_/0-9]+)( .*)?\$#\1#p" tests/test_layers.sh | grep -v '\.' | sort)
described=$(sed -nE 's#^\|`([a-z_/0-9]+)`\|.*#\1#p' docs/architecture.md | sort)
checked=$((checked + 1))
[ "$rooms" = "$described" ] || fail "docs/architecture.md and test_layers.sh know different rooms: $(comm -3 <(echo "$rooms") <(echo "$described") | tr -d '\n\t')"

# The journeys of docs/architecture.md: each function is named in the body of an earlier one of its list, or gets its data
# through a field that both bodies name.
body() { # body FILE FUNCTION: the lines from its name to the brace that closes it, without comments
    sed -E 's#/\*.*\*/##; s#^ *(/\*| \* ).*##' "$1" | awk -v name="$2" '
        inside { text = text "\n" $0; if ($0 ~ end) { print text; exit } next }
        $0 ~ "(^|[^A-Za-z0-9_.>])" name "\\(" && $0 ~ /^ *[A-Za-z_][^=(]*\(/ && !/^ *(if|for|while|return|else|switch)/ { text = ""; ahead = 1 }
        ahead {
            text = text "\n" $0
            if (/^ *\{$/) { end = $0; sub(/\{/, "}", end); end = "^" end ";?$"; inside = 1 }
            else if (/\{.*\}$/) { print text; exit }
            else if (/;$/) ahead = 0
        }'
}
journey=
while IFS= read -r line; do
    case $line in
    '### '*) journey=${line#\#\#\# } before= ;;
    [0-9]*'. `'*)
        place=$(grep -oE -m 1 '`[^`]*`' <<<"$line" | head -n 1 | tr -d '`')
        field=$(sed -nE 's/^[0-9]+\. `[^`]*` through `([^`]*)`.*/\1/p' <<<"$line")
        checked=$((checked + 1))
        text=$(body "${place%%:*}" "${place##*:}")
        if [ -z "$text" ]; then
            fail "docs/architecture.md, $journey: $place is not the body of a function"
        elif [ -n "$field" ] && ! { grep -qw -- "$field" <<<"$text" && grep -qw -- "$field" <<<"$before"; }; then
            fail "docs/architecture.md, $journey: $field is not in $place and in a function before it"
        elif [ -z "$field" ] && [ -n "$before" ] && ! grep -qw -- "${place##*:}" <<<"$before"; then
            fail "docs/architecture.md, $journey: no function before $place calls it"
        fi
        before+=$text ;;
    esac
done <docs/architecture.md
[ -n "$journey" ] || fail "docs/architecture.md has lost its journeys"

# What a rung wins, as its file says, is what was recorded, with three digits: the time of the rung before, and its own. A
# rung may have got another number since; one that was not recorded says so.
before='' recorded=''
while IFS=, read -r step us; do
    file=$(echo gpu/ladder/step_*_"${step#step_*_}.cu")
    checked=$((checked + 1))
    grep -qs "^ \*   wins .*${before:+$before to }$us us on 64 branches" "$file" ||
        fail "$file does not say that it wins ${before:+$before to }$us us, as figures/ladder.csv has it"
    before=$us recorded+=" $file"
done <<<"$(awk -F, '$1 ~ /^"64 branches/ && $5 == "cost" { printf $7 < 99.95 ? "%s,%.1f\n" : "%s,%.0f\n", $6, $7 }' figures/ladder.csv)"
for file in gpu/ladder/step_*.cu; do
    [[ $recorded != *"$file"* ]] || continue
    checked=$((checked + 1))
    grep -q "^ \*   wins    not recorded on 64 branches" "$file" || fail "$file says what it wins, but it was not recorded"
done

# Numbers of README and docs/gpu.md that stand in recorded files, or in a caption that test_captions derives from one.
score='s#.*At \([0-9/]*\) heads the mean is \([0-9.]*\) against \([0-9.]*\), and treeattn is faster on \([0-9]*\) of \([0-9]*\) trees.*#\1 \2 \3 \4 \5#p'
lost=''
while read -r heads ours others wins trees && [ -n "$heads" ]; do
    checked=$((checked + 1)) all_trees=$trees
    grep -qF "|$heads|$ours|$others|$wins of $trees|" docs/gpu.md || fail "docs/gpu.md: at $heads $ours, $others, $wins of $trees"
    case $heads in
    32/8) grep -qF "reaches $ours of the floor, the geometric mean over $trees trees" README.md || fail "README: $ours"
        grep -qF "each tree reaches $others." README.md || fail "README: $others of others" ;;
    *) tr -s '\n ' ' ' <README.md | grep -qE "$heads heads (it reaches )?$ours\b" || fail "README: $ours at $heads" ;;
    esac
    if [ "$wins" != "$trees" ]; then
        lost+=" $heads"
        tr '\n' ' ' <README.md | grep -qE "$heads heads on +$wins\." || fail "README: $wins trees at $heads"
    fi
done <<<"$(sed 's/\. At /.\nAt /g' figures/gpu_trees.md | sed -n "$score")"
checked=$((checked + 2))
on_all="faster than all of them on all $all_trees trees, with each of these heads."
if tr -s '\n ' ' ' <README.md | grep -qF "$on_all"; then
    [ -z "$lost" ] || fail "README: slower than the best of others at$lost"
else
    [ -n "$lost" ] || fail "README: $on_all"
fi
single=$(grep -oE "On a single branch it takes [0-9]+ % less time" figures/gpu_trees.md | grep -oE '[0-9]+ % less time')
tr -s '\n ' ' ' <README.md | grep -qF "On a single branch at 32/8 heads it takes $single." || fail "README: $single"
while read -r sentence; do
    checked=$((checked + 1))
    tr -s '\n ' ' ' <README.md | grep -qF "$sentence" || fail "README: $sentence"
done <<<"$(awk -F, '$1 == "written" && $3 == "all" { share[$2, $4] = sprintf("%.0f %%", 100 * $8); sets[$2, $4] = $6 }
    END {
        print "writes out its search solves " share["full", 100] " of " sets["full", 100] " card sets."
        print "With half of its cache it solves " share["longflow", 50] " under LongFlow, and " share["sink_window", 50] " under"
    }' figures/eviction_accuracy.csv)"
peers=$(sed -n 's/^# peers: //p' docs/peers_h200.csv)
count=$(awk -F', ' '{ split("one two three four five six seven eight nine ten", words, " "); print words[NF] }' <<<"$peers")
checked=$((checked + 4))
[ "$(tr '\n' ' ' <README.md | grep -oE "best of +$count other kernels" | wc -l)" = 2 ] || fail "README: the best of $count others, twice"
grep -q "^The others are $count kernels" docs/gpu.md || fail "docs/gpu.md: $count others"
pat=$(grep -c '^".*",32,8,PAT,' docs/peers_h200.csv)
grep -q "is the best of the $count on $pat trees" docs/gpu.md || fail "docs/gpu.md: PAT is the best on $pat trees"
while read -r peer; do
    [[ ", $peers," = *", $peer,"* ]] || fail "docs/peers_h200.csv: $peer is not among its peers"
done <<<"$(sed -nE 's/^"[^"]*",[0-9]+,[0-9]+,([^,]*),.*/\1/p' docs/peers_h200.csv)"
while read -r step a c && [ -n "$step" ]; do
    checked=$((checked + 1))
    grep -qE "^\|${step//_/ }[^|]*\|[^|]*\|$a\|[^|]*\|$c\|" docs/gpu.md || fail "docs/gpu.md: rung $step takes $a and $c us"
done <<<"$(awk -F, '$5 == "cost" && $1 ~ /^"64 branches/ { a[$6] = $7 }
    $5 == "cost" && $1 ~ /^"512 leaves/ { sub("step_", "", $6); printf "%s %.0f %.0f\n", $6, a["step_" $6], $7 }' figures/ladder.csv)"

# The host's time for a plan of 64 and of 1024 branches.
while read -r sentence; do
    checked=$((checked + 1))
    tr '\n' ' ' <docs/gpu.md | grep -qF "$sentence" || fail "docs/gpu.md: $sentence"
done <<<"$(sed 's/^"\([^"]*\)"/\1/; s/^wide, /wide /' figures/gpu_trees.csv | awk -F, '$3 == 32 && $4 == 8 && $1 == "prefix 64" {
    printf "takes %d us of the host'"'"'s time, and sending the plan %d;\n", $11, $12; few = $11 + $12 }
    $3 == 32 && $4 == 8 && $1 == "wide 1024" { printf "1024 branches take %d and %d \n", $11, $12; many = $11 + $12 }
    END { printf "in all %d and %d; the aim was 20 and 100, so %s\n", few, many, few <= 20 ? (many <= 100 ? "both are met" : "the second one is missed") : many <= 100 ? "the first one is missed" : "both are missed" }')"
# docs/tried_h200.csv: of each dropped kernel its scores and those of step 12 in the same run, and two trees with two launches at once.
while IFS='|' read -r kernel scores; do
    checked=$((checked + 1))
    grep -F "|$kernel|" docs/gpu.md | grep -qF "|$scores|" || fail "docs/gpu.md: $kernel has the scores $scores"
done <<<"$(awk -F'"' '/^[0-9]/ {
        split($1, first, ","); split($5, x, ",")
        place = first[1] FS $2 FS x[2]
        sum[place] += log(x[4] / x[5]); count[place]++; run[$2] = first[1]
    }
    function score(kernel, heads, place) { place = kernel FS heads; return count[place] ? sprintf("%.3f", exp(sum[place] / count[place])) : "-" }
    END {
        for (k in run) if (k != "last rung")
            printf "%s|%s|%s|%s|%s\n", k, score(run[k] FS k, 32), score(run[k] FS "last rung", 32), \
                score(run[k] FS k, 16), score(run[k] FS "last rung", 16)
    }' docs/tried_h200.csv)"
while read -r sentence; do
    checked=$((checked + 1))
    tr '\n' ' ' <docs/gpu.md | grep -qF "$sentence" || fail "docs/gpu.md: $sentence"
done <<<"$(awk -F'"' '$1 == "3," && $5 ~ /^,16,/ { split($5, x, ","); us[$2, $4] = x[5] }
    function instead(tree) { return sprintf("%.1f us instead of %.1f", us["copying warps, early, no barrier launch, one worker", tree], us["last rung", tree]) }
    END { print instead("prefix 1"); t = instead("10 branches"); sub(" us", "", t); print t }' docs/tried_h200.csv)"

# The same for the ladder of eviction: "wins A to B us on N branches", from the rung before, for the N that the file names.
for file in gpu/eviction/evict_[1-9]_*.cu; do
    step=$(basename "$file" .cu)
    batch=$(sed -nE 's/^ \*   wins .* us on ([0-9]+) branches with 3200 tokens each.*/\1/p' "$file")
    times=$(awk -F, -v step="$step" -v batch="${batch:-16}" 'function us(x) { return sprintf(x < 99.95 ? "%.1f" : "%.0f", x) }
        $1 == 128 && $2 == "bf16" && $3 == batch && $4 == 3200 && $5 != "attention" {
            if ($5 == step) print us(before) " to " us($6)
            before = $6
        }' figures/eviction_fused_cost.csv)
    checked=$((checked + 1))
    grep -qE "^ \*   wins    ${times:-none} us on $batch branches with 3200 tokens each" "$file" ||
        fail "$file: recorded are ${times:-no times} us on ${batch:-16} branches"
done

# Quotations of captions, whose numbers test_captions derives: a paragraph "> text ([stem](../figures/stem.md))".
quotations() { # STEM<tab>TEXT of each
    awk '/^> / { text = text substr($0, 2); next }
        text { print text; text = "" }
        END { if (text) print text }' "$1" | sed -nE 's#^ (.*) \(\[([a-z0-9_]*)\]\(\.\./figures/[a-z0-9_]*\.md\)\)$#\2\t\1#p'
}
for document in docs/*.md; do
    while IFS=$'\t' read -r stem text && [ -n "$stem" ]; do
        checked=$((checked + 1))
        tr '\n' ' ' <"figures/$stem.md" | grep -qF -- "$text" || fail "$document: the caption of $stem does not say: $text"
    done <<<"$(quotations "$document")"
    [ "$(grep -cE '^> ' "$document")" = 0 ] || [ "$(grep -cE '^> .*\]\(\.\./figures/.*\)$' "$document")" = "$(quotations "$document" | wc -l)" ] ||
        fail "$document: a quotation without its figure"
done

# Each invariant of eviction has its tests.
for ((i = 1; i <= 15; i++)); do
    checked=$((checked + 1))
    grep -qE "^\|$i\|[^|]+\|\`tests/" docs/eviction.md || fail "docs/eviction.md: invariant $i names no test"
done

echo "$checked references checked in ${#documents[@]} documents and ${#files[@]} files, $failed failed"
[ $failed = 0 ] && [ $checked -gt 1 ]
