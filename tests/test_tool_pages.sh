#!/bin/bash
# Claim: --help, the bash completion and the manual page name the same verbs, options and choices, all of which the
# program takes; every example in them runs as typed from the top folder of the sources.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
build=$(dirname "$TREEATTN_BIN")
unset MANROFFOPT MANOPT

run --help
mapfile -t verbs < <(sed -n '/^Verbs/,/^$/s/^  \([a-z]*\) .*/\1/p' "$work/out")
expect "verbs" "demo think replay plan evict step attend bench tune doctor" "${verbs[*]}"
for verb in "${verbs[@]}"; do "$TREEATTN_BIN" "$verb" --help >"$work/help.$verb"; done
one_line() { paste -sd ' '; }
# options_of VERB: "--name value" of each, as --help has it.
options_of() { sed -n '/^Options/,/^$/s/^  \(--.*\)/\1/p' "$work/help.$1" | sed 's/   *.*//' | sed "s/\(--[a-z-]* [^ ']*\|--[a-z-]* '.*'\) .*/\1/"; }

# ---- completion ----
run --completion bash
cp "$work/out" "$work/completion"
expect "completion: status" 0 "$status"
expect "completion: the file that is installed" "$(cat "$work/out")" "$(cat "$build/treeattn.bash")"
if command -v shellcheck >/dev/null; then
    expect "completion: shellcheck" "" "$(shellcheck -s bash "$work/completion")"
else
    skip "completion: shellcheck" "no shellcheck"
fi
# complete_words WORDS...: the words that bash offers for the last of them.
complete_words() {
    bash -c '. "$1"; shift; COMP_WORDS=(treeattn "$@"); COMP_CWORD=$#; _treeattn; echo "${COMPREPLY[*]}"' - \
        "$work/completion" "$@"
}
expect "completion: verbs and pages" "${verbs[*]} --help --version --completion --man" "$(complete_words '')"
expect "completion: the start of a verb" "doctor" "$(complete_words 'do')"
expect "completion: shells" "bash" "$(complete_words --completion '')"
for verb in "${verbs[@]}"; do
    expect "$verb: completion has the options" "$(options_of "$verb" | cut -d' ' -f1 | one_line)" \
        "$(complete_words "$verb" '')"
    while read -r name value; do
        case $value in
        *'|'*) expect "$verb $name: choices" "${value//|/ }" "$(complete_words "$verb" "$name" '')" ;;
        ?*) expect "$verb $name: a value of its own" "" "$(complete_words "$verb" "$name" '')" ;;
        esac
        run "$verb" "$name"
        [ "$name" = --help ] || expect "$verb $name: is known" 0 "$(grep -c 'unknown option' "$work/err")"
    done < <(options_of "$verb" | grep -vE -- '--(verbose|wait|items|game|compact|show|partials)$')
done

# ---- manual page ----
run --man
expect "man: status" 0 "$status"
expect "man: the file that is installed" "$(cat "$work/out")" "$(cat "$build/treeattn.1")"
cp "$work/out" "$work/treeattn.1"
# From the source of the page: the options of each verb, in their order.
sed -n -e 's/^\.SS treeattn \([a-z]*\).*/\1/p' -e 's/\\-/-/g' -e "s/\\\\(aq/'/g" \
    -e 's/^\\fB\(--[^\\]*\)\\fR\( \\fI\(.*\)\\fR\)\{0,1\}$/\1 \3/p' "$work/treeattn.1" | sed 's/ $//' >"$work/man.options"
for verb in "${verbs[@]}"; do
    echo "$verb"
    options_of "$verb" | grep -vx -- --help
done >"$work/help.options"
expect "man: the verbs, options and values of --help" "$(cat "$work/help.options")" "$(cat "$work/man.options")"
expect_match "man: the help of an option" '^tokens of a block, a power of two from 1 to 256 \(16\)$' "$work/treeattn.1"
if command -v man >/dev/null && command -v groff >/dev/null; then
    expect "man: no warning" "" "$(MANWIDTH=80 man --warnings -l "$work/treeattn.1" 2>&1 >"$work/page")"
    tr '\n' ' ' <"$work/page" | tr -s ' ' >"$work/page.line"
    expect_match "man: an example as typed" "treeattn plan --tree '1,2 / 48,6\|9' --strategy cost" "$work/page.line"
else
    skip "man: no warning" "no man or groff"
fi

# ---- examples ----
# In a copy of the folders that they name, with the program on PATH.
mkdir -p "$work/home/docs" "$work/bin"
declare -A ran
ln -s "$TREEATTN_BIN" "$work/bin/treeattn"
cp -r "$TREEATTN_SOURCE_DIR/docs/examples" "$work/home/docs"
for verb in '' "${verbs[@]}"; do
    "$TREEATTN_BIN" ${verb:+"$verb"} --help | sed -n '/^Examples/,/^$/s/^  //p' >"$work/examples"
    expect "$verb: has examples" 1 "$(($(wc -l <"$work/examples") > 0))"
    while read -r example; do
        [ -z "${ran[$example]:-}" ] || continue # an example of two pages
        ran[$example]=1
        case $sanitized:$example in
        "1:treeattn demo"* | "1:treeattn evict --stream topics_slow --tokens 512") continue ;; # test_tool_demo, test_teaching
        esac
        # bench and tune take seconds: here they are stopped before they measure.
        case $example in
        *' bench '*) limit=' --max-memory 1' wanted=2 said='more than --max-memory 1$' ;;
        *' tune'*) limit=' --seconds 0' wanted=2 said="^treeattn: --seconds: expected a whole number from 1" ;;
        *) limit='' wanted=0 ;;
        esac
        (cd "$work/home" && PATH=$work/bin:$PATH bash -c "$example$limit") >"$work/out" 2>"$work/err" </dev/null
        status=$?
        expect "$example" "$wanted" "$status"
        [ -z "$limit" ] || expect_match "$example: is understood" "$said" "$work/err"
        [ $status = $wanted ] || cat "$work/err"
    done <"$work/examples"
done
expect "the shipped traces are small" "" "$(find "$work/home/docs/examples/traces" -type f -size +4)"
finish
