#!/bin/bash
# Claim: - is standard input wherever a verb takes a trace, and a trace saved by another system reads alike.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
printf 'ttr 1 accept x\nrec r 10 1 3 3\nacc 1 2 1\nend 4\n' >"$work/accept.ttr"
printf 'ttr 1 draft x\ndraft 0 4 4 2\ndnode 0 -1 0\ndnode 1 0 0\ndnode 2 0 1\ndnode 3 2 0\nend 2 8\n' >"$work/draft.ttr"

# same NAME INPUT ARGUMENTS...: with @ read from the file INPUT and from standard input, the output is the same.
same() {
    local name=$1 input=$2
    shift 2
    "$TREEATTN_BIN" "${@//@/$input}" --format csv >"$work/named" 2>"$work/err"
    expect "$name: from a file" 0 $?
    "$TREEATTN_BIN" "${@//@/-}" --format csv <"$input" >"$work/piped" 2>>"$work/err"
    expect "$name: from standard input" 0 $?
    expect "$name" "$(cat "$work/named")" "$(cat "$work/piped" "$work/err")"
}
same "replay, reason" "$small" replay @
same "replay, accept" "$work/accept.ttr" replay @ --star 2
same "replay, draft" "$work/draft.ttr" replay @ --tree 4
same "replay, attention" "$small" replay @ --attention node
same "plan" "$small" plan --trace @ --iteration 6
same "plan, widest step" "$small" plan --trace=@
same "evict" "$small" evict --trace @ --policy full # no victims: no column depends on the clock
same "a draft tree" "$work/draft.ttr" replay "$work/accept.ttr" --draft @:4

for kind in reason accept draft; do
    case $kind in
    reason) plain=$small ;;
    *) plain=$work/$kind.ttr ;;
    esac
    "$TREEATTN_BIN" replay "$plain" --format csv >"$work/wanted" 2>&1
    sed 's/$/\r/' "$plain" >"$work/crlf.ttr"
    { printf '\357\273\277' && cat "$work/crlf.ttr"; } >"$work/marked.ttr"
    for input in crlf marked; do
        "$TREEATTN_BIN" replay - --format csv <"$work/$input.ttr" >"$work/out" 2>"$work/err"
        expect "$kind, $input: status" 0 $?
        expect "$kind, $input" "$(cat "$work/wanted")" "$(cat "$work/out" "$work/err")"
    done
done

# error NAME PATTERN INPUT ARGUMENTS...: status 2, one line that matches.
error() {
    local name=$1 pattern=$2 input=$3
    shift 3
    "$TREEATTN_BIN" "$@" <"$input" >"$work/out" 2>"$work/err"
    expect "$name: status" 2 $?
    expect "$name: one line" 1 "$(wc -l <"$work/err")"
    expect_match "$name" "$pattern" "$work/err"
}
error "nothing there" '^treeattn: standard input:1:1: expected ttr 1 KIND NAME, found the end' /dev/null replay -
sed 's/^node 4 1 /node 4 5 /' "$small" >"$work/wrong.ttr"
error "the line is named" '^treeattn: standard input:8:8: expected a PARENT' "$work/wrong.ttr" replay -
error "a tree that is not there" '^treeattn: standard input: expected a tree of ordinal 7' "$small" replay - --tree 7
error "an endless input" '^treeattn: standard input: expected at most 67108864 bytes' /dev/zero replay -
error "read once" 'standard input is already read as the trace' "$work/accept.ttr" replay - --draft -:4
error "its workload has the limits of a file" 'standard input: a workload of .* more than --max-memory 1$' \
    "$work/accept.ttr" replay - --star 100000 --max-memory 1
{ printf '\377\376' && cat "$small"; } >"$work/utf16.ttr"
error "UTF-16" 'utf16.ttr:1:1: .*byte-order mark of UTF-16' /dev/null replay "$work/utf16.ttr"
tr '\n' '\r' <"$small" >"$work/mac.ttr"
error "carriage returns alone" 'mac.ttr:1:19: expected a newline after the carriage return' /dev/null \
    replay "$work/mac.ttr"
error "a carriage return in levels" "--tree, tokens, column 8: .*, found a carriage return" /dev/null \
    plan --tree $'1,2/3,4\r'
error "a carriage return in a number" "got '5.x0d'" /dev/null replay "$small" --max-iterations $'5\r'
error "a control byte in a name" 'no.x1b.2Jfile: ' /dev/null replay $'no\e[2Jfile'
finish
