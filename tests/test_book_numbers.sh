#!/bin/bash
# Claim: the arithmetic that docs/book types is right: each equation between numbers, like "992 + 100 x 18 = 2792", holds
# within the rounding of its digits, and so do the rows and sums of chapter 0's table; a wrong digit is noticed.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
cd "$TREEATTN_SOURCE_DIR" || exit 1
command -v python3 >/dev/null || { echo "skip book_numbers there is no python3: apt-get install python3" && exit 77; }

cat >"$work/equations.py" <<'END'
import math, re, sys

NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
# Not within a longer expression, with letters or brackets, and not up to a unit other than that of the terms.
EQUATION = re.compile(r"(?<![\w.,()/])(?<![-x+/(] )(?<![a-z]\) )(%s(?: [-x+/] %s)+)(?: (?:bytes|tokens))?\s+= (%s)"
                      r"(?! ?(?:[KMG]i?B|GB/s|us|ms|%%|times))(?!\w|\.\d|[,/]\d| [x/])" % ((NUMBER,) * 3))
ROW = re.compile(r"^ +(\d)     ([01] [01] [01] [01]) +(-?\d) +(-?\d) +([\d.]+) +([\d.]+) +([\d.]+)$", re.M)

SUMS = re.compile(r"^ +sum +([\d.]+) +([\d.]+) +([\d.]+)$", re.M)


def interval(text):
    """The numbers that are printed as this one."""
    text = text.replace(",", "")
    half = 0.5 * 10.0 ** -len(text.split(".")[1]) if "." in text else 0
    return float(text) - half, float(text) + half


def product(a, b):
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def evaluate(expression):
    words = ["+"] + expression.split(" ")
    low = high = 0.0
    for term in re.findall(r"([-+]) (%s(?: [x/] %s)*)" % (NUMBER, NUMBER), " ".join(words)):
        factors = ["x"] + term[1].split(" ")
        value = (1.0, 1.0)
        for sign, factor in zip(factors[::2], map(interval, factors[1::2])):
            value = product(value, factor if sign == "x" else (1 / factor[1], 1 / factor[0]))
        low, high = (low + value[0], high + value[1]) if term[0] == "+" else (low - value[1], high - value[0])
    return low, high


count = rows = 0
for name in sys.argv[1:]:
    text = re.sub(r"<!-- (?:code|run|file).*?-->\n```.*?```|<!--.*?-->", "", open(name, encoding="utf-8").read(), flags=re.S)
    total = [0.0, 0.0, 0.0]
    for token, key, dot, score, e, weight, term in ROW.findall(text):
        t, rows = int(token), rows + 1
        query = (2, 0, 4, -2)
        true = [query[t % 4], query[t % 4] / 2, math.exp(query[t % 4] / 2 - 2)]
        true += [true[2] / sum(math.exp(query[i % 4] / 2 - 2) for i in range(9)), t * true[2]]
        for given, value in zip((dot, score, e, weight, term), true):
            if abs(float(given) - value) > 0.5e-4 + 1e-9:
                print("%s: token %d: %s, not %.4f" % (name, t, given, value))
        if key.split() != [str(int(d == t % 4)) for d in range(4)]:
            print("%s: token %d: key %s" % (name, t, key))
        total = [total[0] + true[2], total[1] + true[3], total[2] + true[4]]
    for sums in SUMS.findall(text):
        for given, value in zip(sums, total):
            if abs(float(given) - value) > 0.5e-4 + 1e-9:
                print("%s: the sums of the table: %s, not %.4f" % (name, given, value))
    # One line for each paragraph; lines of fences and tables stay apart, since their equations do.
    paragraphs, fence = [""], False
    for line in text.split("\n"):
        fence ^= line.startswith("```")
        if fence or not line.strip() or line[0] in "|`":
            paragraphs += [line, ""]
        else:
            paragraphs[-1] += " " + line.strip()
    for paragraph in paragraphs:
        for match in EQUATION.finditer(paragraph):
            count += 1
            (low, high), (least, most) = evaluate(match.group(1)), interval(match.group(2))
            if "/" in match.group(1) and "." not in match.group(2):
                least, most = least - 0.5, most + 0.5
            if low > most + 1e-9 or high < least - 1e-9:
                print("%s: %s: it is %.4f" % (name, match.group(), (low + high) / 2))
print("%d equations, %d rows" % (count, rows), file=sys.stderr)
END

python3 "$work/equations.py" docs/book/*.md >"$work/wrong" 2>"$work/count"
expect "equations of the book" "" "$(cat "$work/wrong")"
read -r equations _ rows _ <"$work/count"
[ "$equations" -ge 40 ] || fail "equations are found" "only $equations"
expect "rows of the table of chapter 0" 9 "$rows"

# noticed NAME FILE FROM TO: with FROM replaced by TO, FILE has a wrong number.
noticed() {
    sed "s|$3|$4|" "docs/book/$2" >"$work/changed.md"
    cmp -s "docs/book/$2" "$work/changed.md" && fail "$1" "'$3' is not in $2" && return
    if [ -n "$(python3 "$work/equations.py" "$work/changed.md" 2>/dev/null)" ]; then pass "$1"; else fail "$1" "not noticed"; fi
}
noticed "a wrong sum" 03_tree.md "992 + 100 x 18" "992 + 100 x 17"
noticed "a wrong digit at the end" 04_online_softmax.md "+ 1 = 1.5032" "+ 1 = 1.5036"
noticed "a wrong quotient" 00_kv_cache.md "13.7244 / 3.4739 = 3.9507" "13.7244 / 3.4739 = 3.9517"
noticed "a wrong weight in the table" 00_kv_cache.md "0.0143           0.1494" "0.0134           0.1494"
noticed "a wrong sum below the table" 00_kv_cache.md "1.0000          13.7244" "1.0000          13.7344"
noticed "an equation over two lines" 03_tree.md "10 + 12" "10 + 13"
finish
