#!/bin/bash
# Claim: each chapter of docs/book has the parts of a chapter (a question, a drawing, quoted code, measurement, refutation,
# exercises with answers, ways on), and names its notebook, its functions to write and its panel of the explorer, as the
# notebook names its chapters; code, output and numbers in it are those of the project (scripts/weave --check); and all
# these checks refuse a chapter in which something is wrong.
# shellcheck disable=SC2016 # backquotes in sed's scripts
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
: "${TREEATTN_BUILD_DIR:=$TREEATTN_SOURCE_DIR/build}"
export TREEATTN_BUILD_DIR
cd "$TREEATTN_SOURCE_DIR" || exit 1

# chapter_faults CHAPTER: a line for each part that it lacks.
chapter_faults() {
    awk -v number="$((10#$(basename "$1" | cut -d _ -f 1)))" '
        function fault(text) { print FILENAME ": " text }
        function end_exercise() {
            if (exercises && answer != 3) fault("exercise " exercises " has no answer, <details><summary>Answer</summary>, blank line, text, blank line, </details>")
        }
        function end_fence() { if (!woven && language == "text" && fence_lines > 2) drawings++ }
        NR == 1 && $0 !~ "^# " number " [A-Z]" { fault("begins with \"" $0 "\", not with \"# " number " Title\"") }
        {
            for (shown = $0; at = index(shown, "<!--"); shown = substr(shown, 1, at - 1) substr(rest, end ? end + 3 : length(rest) + 1)) {
                rest = substr(shown, at)
                end = index(rest, "-->")
            }
            gsub(/[\200-\277]/, "", shown)
        }
        !in_fence && !/^\|/ && !/^!\[/ && length(shown) > 120 { fault("line " NR " has " length(shown) " characters") }
        section == "Exercises" && answer == 1 && before == "" && /./ && !/<\/?details/ { answer = 2 }
        /^```/ && in_fence { in_fence = 0; end_fence(); next }
        /^```/ { in_fence = 1; language = substr($0, 4); fence_lines = 0; woven = before ~ /^<!-- (code|run|file): /; codes += before ~ /^<!-- code: /; next }
        in_fence { fence_lines++; next }
        # Where the line before belongs to a paragraph, these signs would begin a list in CommonMark.
        before ~ /[^ ]/ && before !~ /^( *[-*] |  |[0-9]+\. |<!--)/ && /^ *([-+*]|1[.)]) / { fault("line " NR " begins a list: " substr($0, 1, 20)) }
        /^\*\*Question\.\*\* [A-Z]/ { questions++; if (NR != 3) fault("the question is not line 3") }
        match($0, /!\[[^]]*\]\(\.\.\/\.\.\/figures\/[^)]*\.svg\)/) { drawings++; if (/!\[\]/) fault("line " NR ": an image without a text") }
        /\]\(\.\.\/glossary\.md#/ { terms++ }
        /^## / {
            if (section == "Exercises") end_exercise()
            section = substr($0, 4); sections[section]++
        }
        section == "Exercises" && (before == "" || before ~ /^<!-- typed/) && /^[0-9]+\. / {
            end_exercise(); exercises++; answer = 0
            if ($1 != exercises ".") fault("exercise " $1 " stands where " exercises ". is due")
        }
        section == "Exercises" && before == "" && $0 == "<details><summary>Answer</summary>" { answer = exercises ? 1 : 0 }
        section == "Exercises" && answer == 2 && before == "" && $0 == "</details>" { answer = 3 }
        /^\*\*In depth:\*\* .*\]\(\.\.\// { depth = NR }
        /^\*\*Next:\*\* .*\]\([A-Za-z0-9_\/.]*\.md[)#]/ { next_link = NR; target = $0; sub(/.*\]\(/, "", target); sub(/[)#].*/, "", target) }
        { before = $0 }
        END {
            if (section == "Exercises") end_exercise()
            if (in_fence) fault("a fence has no end")
            if (questions != 1) fault("has " questions + 0 " lines **Question.**, not 1")
            if (!drawings) fault("has no drawing: a text fence, or an image of figures/")
            if (!codes) fault("quotes no code")
            if (!terms) fault("links to no word of the glossary")
            if (sections["What was measured"] != 1 && sections["What was run"] != 1) fault("has no section What was measured")
            if (sections["What would refute it"] != 1) fault("has no section What would refute it")
            if (exercises < 3) fault("has " exercises + 0 " exercises, fewer than 3")
            if (!depth) fault("has no line **In depth:** with a link out of the book")
            if (!next_link || next_link < depth) fault("has no line **Next:** with a link, after In depth")
        }' "$1"
}

# book_faults [CHAPTER...]: these chapters, or all, and the table of contents, docs/book/README.md: what follows what.
book_faults() {
    local listed chapter title first text before=''
    listed=$(sed -nE 's/^\|\[(.*)\]\(([0-9]+_[a-z0-9_]*\.md)\)\|.*/\2 \1/p' docs/book/README.md)
    while read -r chapter title && [ -n "$chapter" ]; do
        [ -f "docs/book/$chapter" ] || { echo "docs/book/README.md: there is no $chapter" && continue; }
        read -r first <"docs/book/$chapter"
        [ "$first" = "# $title" ] || echo "docs/book/$chapter: is not called '$title', as in README.md"
        [ -z "$before" ] || [[ $text =~ $'\n'"**Next:** "[^$'\n']*"]($chapter)" ]] || echo "docs/book/$before: Next is not $chapter"
        before=$chapter text=$(<"docs/book/$chapter")
    done <<<"$listed"
    [ $# -gt 0 ] || set -- docs/book/[0-9]*.md
    for chapter; do
        grep -q "^${chapter##*/} " <<<"$listed" || echo "docs/book/README.md: does not list ${chapter##*/}"
        chapter_faults "$chapter"
    done
}

# way_faults: a chapter and a notebook name each other; a chapter names functions to write, those of exercises/ that
# belong to it among them, and a panel of the explorer, as a notebook does.
way_faults() {
    local chapter notebook title named naming sign pair number
    named=$(awk '/^\*\*Notebook:\*\* /, /^$/ { text = text $0 " " }
        /^$/ && text {
            for (; match(text, /\[[^]]*\]\(\.\.\/\.\.\/notebooks\/[^)]*\)/); text = substr(text, RSTART + RLENGTH)) {
                split(substr(text, RSTART + 1, RLENGTH - 2), link, /\]\(\.\.\/\.\.\/notebooks\//)
                print substr(FILENAME, 11), link[2], link[1]
            }
            text = ""
        }' docs/book/[0-9]*.md)
    naming=$(awk 'FNR == 1 { first = 1; name = FILENAME; gsub(/.*\/|\.py$/, "", name) }
        FNR > 1 && /^# %%/ { first = 0 }
        first && /^# # / { print "title", name, substr($0, 5) }
        first && /\.\.\/exercises\/[0-9]/ { print "exercise", name }
        first && /\.\.\/docs\/explorer\.html#panel-/ { print "panel", name }
        first {
            for (; match($0, /\.\.\/docs\/book\/[0-9a-z_]+\.md/); $0 = substr($0, RSTART + RLENGTH))
                print "names", substr($0, RSTART + 13, RLENGTH - 13), name ".ipynb"
        }' notebooks/[0-9]*.py)
    while read -r chapter notebook title && [ -n "$chapter" ]; do
        grep -qx "title ${notebook%.ipynb} $title" <<<"$naming" ||
            echo "docs/book/$chapter: there is no notebook '$title' in $notebook"
    done <<<"$named"
    while read -r sign pair; do
        case $sign in
        '<') echo "notebooks/${pair#* }: its first cell does not name docs/book/${pair% *}, which names it" ;;
        '>') echo "docs/book/${pair% *}: does not name notebooks/${pair#* }, which names it" ;;
        esac
    done < <(diff <(cut -d ' ' -f 1,2 <<<"$named" | sort) <(sed -n 's/^names //p' <<<"$naming" | sort -u))
    for notebook in notebooks/[0-9]*.py; do
        title=${notebook#*/} title=${title%.py}
        [[ $naming == *"exercise $title"* ]] || echo "$notebook: its first cell names no exercise"
        [[ $naming == *"panel $title"* ]] || echo "$notebook: its first cell names no panel of the explorer"
    done
    for chapter in docs/book/[0-9]*.md; do
        [[ $'\n'$named == *$'\n'"${chapter##*/} "* ]] || echo "$chapter: has no line **Notebook:** with a link"
    done
    grep -L '^\*\*Write it yourself:\*\* ' docs/book/[0-9]*.md | sed 's/$/: has no line **Write it yourself:**/'
    grep -L '](\.\./explorer\.html#panel-[a-z]*)' docs/book/[0-9]*.md | sed 's/$/: names no panel of the explorer/'
    while read -r number chapter && [ -n "$number" ]; do
        grep -qw "N=$number" "docs/book/$chapter" || echo "docs/book/$chapter: does not name exercise $number"
    done <<<"$(sed -nE 's#^\|\[([0-9]+) .*\(\.\./docs/book/(.*)\)\|$#\1 \2#p' exercises/README.md)"
}

expect "the chapters and their parts" "" "$(book_faults)"
expect "chapters, notebooks, exercises and panels name each other" "" "$(way_faults)"
expect "the same table in docs/README.md" "$(grep -E '^\|\[[0-9]+ ' docs/book/README.md)" \
    "$(grep -E '^\|\[[0-9]+ ' docs/README.md | sed 's#(book/#(#')"
expect "twelve chapters" 12 "$(find docs/book -name '[0-9]*_*.md' | wc -l)"

# The same book with a mistake in one chapter.
cp -r docs notebooks exercises "${work:?}" && cd "$work" || exit 1
lacks() { # NAME SED_SCRIPT FAULT
    cp "$TREEATTN_SOURCE_DIR/docs/book/"*.md docs/book
    sed -i -E "$2" docs/book/02_blocks.md
    cmp -s docs/book/02_blocks.md "$TREEATTN_SOURCE_DIR/docs/book/02_blocks.md" && fail "$1" "the mistake is not there"
    expect "$1" "$3" "$(book_faults docs/book/02_blocks.md | sed 's#^docs/book/##' | grep -xF -- "$3" )"
}
in_exercises='/^## Exercises/,$'
lacks "another title" '1s/Blocks/Blogs/' "02_blocks.md: is not called '2 Blocks', as in README.md"
lacks "another number" '1s/2/3/' "02_blocks.md: is not called '2 Blocks', as in README.md"
lacks "no question" 's/^\*\*Question\.\*\*/Question./' '02_blocks.md: has 0 lines **Question.**, not 1'
lacks "no drawing" 's/^!\[.*//; s/^```text/```sh/' '02_blocks.md: has no drawing: a text fence, or an image of figures/'
lacks "no code" 's/<!-- code: /<!-- typed: /' '02_blocks.md: quotes no code'
lacks "no word of the glossary" 's/glossary\.md#/glossary.md?/g' '02_blocks.md: links to no word of the glossary'
lacks "nothing measured" 's/^## What was .*/## Results/' '02_blocks.md: has no section What was measured'
lacks "nothing refutes it" 's/^## What would .*/## Really/' '02_blocks.md: has no section What would refute it'
lacks "two exercises" "$in_exercises { /^3\./,\$ { /^\*\*/! d } }" '02_blocks.md: has 2 exercises, fewer than 3'
lacks "no exercises" 's/^## Exercises/## Answers/' '02_blocks.md: has 0 exercises, fewer than 3'
lacks "an exercise with another number" "$in_exercises s/^2\./3./" '02_blocks.md: exercise 3. stands where 2. is due'
for part in '^<\/details>' '^<details>.*'; do
    lacks "an exercise without its answer, $part" "$in_exercises { /^2\./,/^3\./ s/$part// }" \
        '02_blocks.md: exercise 2 has no answer, <details><summary>Answer</summary>, blank line, text, blank line, </details>'
done
lacks "an answer without blank lines" "$in_exercises { /^<details>/ { N; s/\n.*/ Yes./ } }" \
    '02_blocks.md: exercise 1 has no answer, <details><summary>Answer</summary>, blank line, text, blank line, </details>'
lacks "no way into depth" 's/^\*\*In depth:\*\*/More:/' '02_blocks.md: has no line **In depth:** with a link out of the book'
lacks "no next chapter" 's/^\*\*Next:.*//' '02_blocks.md: Next is not 03_tree.md'
lacks "another next chapter" '/^\*\*Next:/ s/03_tree/04_online_softmax/' '02_blocks.md: Next is not 03_tree.md'
lacks "a sign that begins a list" '3s/$/\n+ 3/' '02_blocks.md: line 4 begins a list: + 3'
lacks "a long line" '3s/$/ 34567890 234567890 234567890 234567890 234567890 234567890 234567890 234567890 234567890 234567890 234567890/' \
    "02_blocks.md: line 3 has $(($(sed -n 3p "$TREEATTN_SOURCE_DIR/docs/book/02_blocks.md" | wc -m) + 108)) characters"
cp "$TREEATTN_SOURCE_DIR/docs/book/"*.md docs/book
misses() { # NAME FILE SED_SCRIPT FAULT
    sed -i.before -E "$3" "$2"
    cmp -s "$2" "$2.before" && fail "$1" "the mistake is not there"
    expect "$1" "$4" "$(way_faults)"
    mv "$2.before" "$2"
}
misses "a chapter without its notebook" docs/book/06_caches.md 's/^\*\*Notebook:/**Note:/' \
    "docs/book/06_caches.md: does not name notebooks/05_l2_paradox.ipynb, which names it
docs/book/06_caches.md: has no line **Notebook:** with a link"
misses "a notebook without its chapter" notebooks/06_ladder.py '1,/^# %%$/ s#08_floor#08_roof#' \
    "notebooks/06_ladder.ipynb: its first cell does not name docs/book/08_floor.md, which names it
docs/book/08_roof.md: does not name notebooks/06_ladder.ipynb, which names it"
misses "another title of a notebook" notebooks/05_l2_paradox.py '2s/paradox/question/' \
    "docs/book/06_caches.md: there is no notebook '5 The L2 paradox' in 05_l2_paradox.ipynb"
misses "a chapter names no exercise" docs/book/04_online_softmax.md '/^\*\*Write/ s/N=6/N=7/' \
    "docs/book/04_online_softmax.md: does not name exercise 6"
misses "a chapter without functions to write" docs/book/06_caches.md '/^\*\*Write/d' \
    "docs/book/06_caches.md: has no line **Write it yourself:**"
misses "a chapter without a panel" docs/book/06_caches.md 's/#panel-bytes//' \
    "docs/book/06_caches.md: names no panel of the explorer"
misses "a notebook without a panel" notebooks/05_l2_paradox.py 's/#panel-bytes//' \
    "notebooks/05_l2_paradox.py: its first cell names no panel of the explorer"
misses "a notebook without an exercise" notebooks/05_l2_paradox.py 's#exercises/09#exercise/09#' \
    "notebooks/05_l2_paradox.py: its first cell names no exercise"
rm docs/book/04_*.md
expect_match "a chapter that is gone" 'README.md: there is no 04_' <(book_faults)
cp docs/book/03_tree.md docs/book/11_more.md
expect_match "a chapter that is not listed" 'README.md: does not list 11_more.md' <(book_faults)
cd "$TREEATTN_SOURCE_DIR" || exit 1

if ! command -v python3 >/dev/null; then
    skip "code, output and numbers of the book" "no python3"
    skip "mistakes that scripts/weave notices" "no python3"
    finish
    exit
fi
scripts/weave --check >"$work/out" 2>&1
expect "code, output and numbers of the book" "0 " "$? $(cat "$work/out")"

# A small project with one page, in which every directive is filled.
mkdir -p "$work/small"/{scripts,figures,build,docs/book/values} && cp scripts/weave "$work/small/scripts" &&
    cp figures/numbers.awk "$work/small/figures" && cd "$work/small" || exit 1
export TREEATTN_BUILD_DIR=build
cat >program.cu <<'END'
#define LIMIT 3 /* lanes */
/* Not the definition: twice(1) { } */
static int twice(int x);

/* Doubles a number,
 * exactly. */
template <int D> static int twice(int x)
{
    return "}"[0] == '}' ? 2 * x : 0; /* a brace } here */
}
struct pair {
    int first;
    int sum() { return twice(first); }
};
int later(int x);
END
printf '#!/bin/sh\n: >left_behind; echo "show $*"; echo one; echo two; echo three\n' >build/show
printf '#!/bin/sh\necho "no way" >&2; exit 3\n' >build/fails
chmod +x build/show build/fails
printf '# a comment\nplan,branches,time_us,bytes\ncost,1,2.25,1000000\nflash,1,4,3000000\n"cost, cut",2,5.5,12345678\n' >figures/io.csv
printf 'END {\n    value("gain", d(1, at("plan=flash branches=1", "time_us") / 2.25))\n    holds("Cost is faster", 1)\n}\n' >docs/book/values/io.awk
printf 'Text.\n|a|\n|-|\n|1|\nText of its own.\n' >other.txt
cat >page.md <<'END'
# Page

Cost is faster by <!-- value: io gain -->?<!-- /value --> times; a step has 4 us. <!-- typed: a law -->

<!-- code: program.cu twice+ -->

<!-- code: program.cu pair -->

<!-- code: program.cu sum -->

<!-- code: program.cu LIMIT -->
```cpp
old
```

<!-- code: program.cu later -->

<!-- code: program.cu "Not the" .. "static int twice(int x);" -->

<!-- run: show 'a b' -->

<!-- run: show c | "one" .. "two" -->

<!-- file: figures/io.csv -->

<!-- file: figures/io.csv "plan," -->

<!-- table: figures/io.csv rows plan=cost...|none branches=1|2 columns plan time_us:1=us bytes/1e6:2=MB_read -->
|old|

<!-- table: other.txt "|a|" .. "|1|" -->

<!-- typed: worked by hand -->
3 x 4 = 12, and 12 us are
7 times that.

Not prose: `8 us`, [9](us.md#9-us), x4, 2 x 3, step 5, 128x64, v2, thousands, seven of ten.
END
cat >expected.md <<'END'
# Page

Cost is faster by <!-- value: io gain -->1.8<!-- /value --> times; a step has 4 us. <!-- typed: a law -->

<!-- code: program.cu twice+ -->
```cuda
/* Doubles a number,
 * exactly. */
template <int D> static int twice(int x)
{
    return "}"[0] == '}' ? 2 * x : 0; /* a brace } here */
}
```

<!-- code: program.cu pair -->
```cuda
struct pair {
    int first;
    int sum() { return twice(first); }
};
```

<!-- code: program.cu sum -->
```cuda
    int sum() { return twice(first); }
```

<!-- code: program.cu LIMIT -->
```cpp
#define LIMIT 3 /* lanes */
```

<!-- code: program.cu later -->
```cuda
int later(int x);
```

<!-- code: program.cu "Not the" .. "static int twice(int x);" -->
```cuda
/* Not the definition: twice(1) { } */
static int twice(int x);
```

<!-- run: show 'a b' -->
```text
show a b
one
two
three
```

<!-- run: show c | "one" .. "two" -->
```text
one
two
```

<!-- file: figures/io.csv -->
```text
# a comment
plan,branches,time_us,bytes
cost,1,2.25,1000000
flash,1,4,3000000
"cost, cut",2,5.5,12345678
```

<!-- file: figures/io.csv "plan," -->
```text
plan,branches,time_us,bytes
```

<!-- table: figures/io.csv rows plan=cost...|none branches=1|2 columns plan time_us:1=us bytes/1e6:2=MB_read -->
|plan|us|MB read|
|-|-:|-:|
|cost|2.2|1.00|
|cost, cut|5.5|12.35|

<!-- table: other.txt "|a|" .. "|1|" -->
|a|
|-|
|1|

<!-- typed: worked by hand -->
3 x 4 = 12, and 12 us are
7 times that.

Not prose: `8 us`, [9](us.md#9-us), x4, 2 x 3, step 5, 128x64, v2, thousands, seven of ten.
END
at=docs/book/page.md
puts="differs from its source; scripts/weave --write puts here:"
cp page.md docs/book
scripts/weave --check >out 2>&1
expect "an unfilled page: status and messages" "1 13" "$? $(grep -c "$puts" out)"
scripts/weave --write >out 2>&1
expect "filled: status and message" "0 docs/book/page.md" "$? $(cat out)"
expect "filled: the page" "" "$(diff docs/book/page.md expected.md)"
expect "filled: no file is left behind" "" "$(find . -name left_behind -o -name '.weave-*')"
ls -i docs/book/page.md >before
scripts/weave --write >out 2>&1
expect "filled again: not written" "0  $(cat before)" "$? $(cat out) $(ls -i docs/book/page.md)"
scripts/weave --check docs/book/page.md >out 2>&1
expect "filled: checked" "0 " "$? $(cat out)"
scripts/weave --chekc >out 2>&1
expect "bad usage" "2 usage: scripts/weave --write | --check [FILE...]" "$? $(cat out)"

# Pages with a mistake: what is said about each of them, in one call.
names=() said=()
mistake() { # NAME SED_SCRIPT MESSAGES
    names+=("$1") said+=("${3//page.md/page${#said[@]}.md}")
    sed -E "$2" expected.md >"docs/book/page$((${#said[@]} - 1)).md"
}
mistake "a number by hand" 's/1\.8/1.9/' \
    "$at:3: $puts Cost is faster by <!-- value: io gain -->1.8<!-- /value --> times; a step has 4 us. <!-- typed: a law -->"
mistake "a changed line of code" 's/if exactly/exactly/; s/ \* exactly\./ * exactly?/' "$at:8: $puts  * exactly. */"
mistake "output by hand" '/^show a b/ s/b/c/' "$at:46: $puts show a b"
mistake "a cell by hand" 's/12\.35/12.34/' "$at:76: $puts |cost, cut|5.5|12.35|"
mistake "a symbol that is not there" 's/ twice\+ / thrice /' "$at:5: program.cu: no definition of thrice"
mistake "a file that is not there" 's/(code|file): program/\1: progam/' "$(printf "$at:%s: progam.cu: No such file or directory\n" 5 15 23 28 33 38)"
mistake "a text that is not unique" '/"Not the/ s/"Not the"/"int"/' "$at:38: program.cu: \"int\" is in 5 lines from line 1 on, expected 1"
mistake "a text that is not there" '/"one" \.\. / s/two/four/' "$at:52: show c: \"four\" is in 0 lines from line 2 on, expected 1"
mistake "a program that is not built" "s/show 'a b'/shows/" "$at:44: shows: not in build; cmake --build build --target shows"
mistake "a program elsewhere" "s#show 'a b'#../build/show#" "$at:44: ../build/show: not in build; cmake --build build --target ../build/show"
mistake "a program that fails" "s/show 'a b'/fails/" "$at:44: fails: status 3: no way"
mistake "quotes that do not end" "s/'a b'/'a b/" "$at:44: No closing quotation"
mistake "a row that is not there" 's/plan=cost\.\.\.\|none/plan=none/' "$at:72: figures/io.csv: no row with plan=none branches=1|2"
mistake "a column that is not there" 's/time_us:1=us/time:1=us/' "$at:72: figures/io.csv: no column time"
mistake "a text as a number" 's/columns plan/columns plan:1/' "$at:72: figures/io.csv: plan is not a number in each row"
mistake "no columns" 's/columns/fields/' "$at:72: expected: table: CSV rows COLUMN=VALUE... columns NAME..."
mistake "lines that are no table" 's/(other.*)"\|1\|"/\1"of its own"/' "$at:78: other.txt: these lines are no table"
mistake "a value that is not there" 's/value: io gain/value: io loss/' "$at:3: docs/book/values/io.awk has no value loss"
mistake "a directive with a mistake" 's/<!-- file: figures/<!-- flie: figures/' "$(printf "$at:%s: not a directive: <!-- flie: figures/io.csv%s -->\n" 58 '' 67 ' "plan,"')"
mistake "a value over two lines" 's/-->1\.8<!-- .value -->/-->1.8\n&/' \
    "$at:3: not a directive: Cost is faster by <!-- value: io gain -->1.8
$at:4: not a directive: -->1.8<!-- /value --> times; a step has 4 us. <!-- typed: a law -->"
numbers=('8 us' 9us '1.5 GB/s' '40 %' '7 times' 7x '1,000 MB' '3 TFLOP/s' 'two times' '5 percent' '2 seconds')
mistake "typed numbers" "s#^Not prose.*#$(printf 'It takes %s more.\\n' "${numbers[@]}")#" "$(for ((i = 0; i < ${#numbers[@]}; i++)); do
    echo "$at:$((87 + i)): '${numbers[i]}' has no <!-- value: ... --> and no <!-- typed: reason -->"
done)"
mistake "typed, with an empty reason" 's#^Not prose.*#In 8 us. <!-- typed: -->#' "$at:87: not a directive: In 8 us. <!-- typed: -->
$at:87: '8 us' has no <!-- value: ... --> and no <!-- typed: reason -->"
mistake "typed in the paragraph after" 's#^7 times that.*#\n&#' "$at:86: '7 times' has no <!-- value: ... --> and no <!-- typed: reason -->"
mistake "code by hand" 's#^Not prose.*#```c\nint x;\n```#' "$at:87: code without <!-- code: ... --> or <!-- typed: reason --> before it"
mistake "a fence without an end" 's#^Not prose.*#```text#' "$at:87: this fence has no end"
mistake "a value that begins a line" 's/^Cost is faster by /Cost is faster by\n/' \
    "$at:4: a value at the start of a line ends the paragraph in CommonMark: begin with a word"
scripts/weave --check docs/book/page?*.md >out 2>&1
expect "pages with mistakes: status" 1 $?
for ((i = 0; i < ${#names[@]}; i++)); do
    expect "${names[i]}" "${said[i]}" "$(grep "^docs/book/page$i.md:" out)"
done
rm docs/book/page?*.md

# Sources with a mistake.
refuses() { # NAME SED_SCRIPT MESSAGES FILE
    cp expected.md docs/book/page.md && cp "$4" kept
    sed -i -E "$2" "$4"
    scripts/weave --check >out 2>&1
    expect "$1: status" 1 $?
    expect "$1: the messages" "$3" "$(cat out)"
    cp kept "$4"
}
refuses "another recording" 's/^flash,1,4,/flash,1,9,/' \
    "$at:3: $puts Cost is faster by <!-- value: io gain -->4.0<!-- /value --> times; a step has 4 us. <!-- typed: a law -->
$at:63: $puts flash,1,9,3000000" figures/io.csv
refuses "code that has changed" 's/exactly/almost/' "$at:8: $puts  * almost. */" program.cu
refuses "two definitions" 's/^int later.*/&\nint later(int);/' "$at:33: program.cu: 2 definitions of later" program.cu
refuses "a value without a row" 's/branches=1/branches=7/' "$at:3: docs/book/values/io.awk: FAIL ../figures/io.csv: no row with plan=flash branches=7" docs/book/values/io.awk
refuses "a sentence that the csv refutes" 's/faster", 1/faster", 0/' "$at:3: docs/book/values/io.awk: FAIL ../figures/io.csv does not bear out: Cost is faster" docs/book/values/io.awk
refuses "a sentence that is gone" 's/Cost is faster/Cost wins/' "$at:3: docs/book/values/io.awk: the book does not say 'Cost is faster'" docs/book/page.md
refuses "a value that no chapter has" 's/^END \{/&\n    value("more", 1)/' "docs/book/values/io.awk: no chapter has the value more" docs/book/values/io.awk
finish
