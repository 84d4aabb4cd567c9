# The numbers that a figure's caption and titles quote, from its csv: read before figures/STEM.awk, which calls say and
# holds. scripts/captions.sh compares them with the texts, or rewrites them there.
#
#   say("at {} branches", 256)      each {} of the phrase is a number of the text, and these are the values, as printed;
#                                   the phrase begins with a word
#   holds("two launches", truth)    the csv says that the phrase, numbers and all, is true
#   value("gain", d(1, gain))       a number of the book, docs/book, which has it by this name (scripts/weave)
#
# Rows are numbered from 1, without the heading. Column names are those of the heading.
function split_row(line, field,    n, c, i, quoted, text) {
    n = 1; text = ""; quoted = 0
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        if (c == "\"") quoted = !quoted
        else if (c == "," && !quoted) { field[n++] = text; text = "" }
        else text = text c
    }
    field[n] = text
    return n
}
/^#/ { comments = comments $0 "\n"; next }
{ num_fields = split_row($0, fields) }
!num_columns { for (i = 1; i <= num_fields; i++) column[fields[i]] = i; num_columns = num_fields; next }
{ num_rows++; for (i = 1; i <= num_fields; i++) cells[num_rows, i] = fields[i] }

function die(text) { print "FAIL " FILENAME ": " text >"/dev/stderr"; exit 2 }
function cell(row, name) {
    if (!(name in column)) die("no column " name)
    return cells[row, column[name]] ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ ? cells[row, column[name]] + 0 : cells[row, column[name]]
}
# Rows in which columns have values, "plan=cost branches=64" ('_' for a blank in a value): row[1] and so on, their count.
function find(where, row,    n, i, k, parts, terms, good, content) {
    n = split(where, terms, " ")
    row[0] = 0
    for (i = 1; i <= num_rows; i++) {
        good = 1
        for (k = 1; k <= n; k++) {
            split(terms[k], parts, "=")
            content = cell(i, parts[1])
            gsub(/ /, "_", content)
            if (content != parts[2]) good = 0
        }
        if (good) row[++row[0]] = i
    }
    if (!row[0]) die("no row with " where)
    return row[0]
}
# A column's value in the one row that there is.
function at(where, name,    row) {
    if (find(where, row) != 1) die(row[0] " rows with " where)
    return cell(row[1], name)
}
function lowest(where, name,    row, i, least) {
    for (i = find(where, row); i; i--) if (least == "" || cell(row[i], name) + 0 < least) least = cell(row[i], name) + 0
    return least
}
function highest(where, name,    row, i, most) {
    for (i = find(where, row); i; i--) if (most == "" || cell(row[i], name) + 0 > most) most = cell(row[i], name) + 0
    return most
}
# Collects values of a name, for low[name] and high[name].
function collect(name, number) {
    if (!(name in low) || number < low[name]) low[name] = number
    if (!(name in high) || number > high[name]) high[name] = number
    sum_log[name] += log(number); count[name]++
}
function mean(name) { return exp(sum_log[name] / count[name]) }
# The number in a comment line "# name: 4550".
function ceiling(name,    at_name, rest) {
    at_name = index(comments, "# " name ": ")
    if (!at_name) die("no " name " in the comment lines")
    rest = substr(comments, at_name + length(name) + 4)
    return rest + 0
}
# Whether the comment lines say this.
function told(text) { return index(comments, text) > 0 }
# Whether the csv is of this device, "NVIDIA H200".
function told_device(device) { return index("\n" comments, "\n# device: " device ",") > 0 }
function d(decimals, number) { return sprintf("%." decimals "f", number) }
function percent(decimals, part) { return d(decimals, 100 * part) }
function say(phrase, a, b, c, e, f, g) {
    if (phrase ~ /^[{]/) die("begins with a number: " phrase)
    print phrase "\t" a "\t" b "\t" c "\t" e "\t" f "\t" g
}
function value(name, text) { print "value\t" name "\t" text }
function holds(phrase, truth) {
    print phrase
    if (!truth) print "FAIL " FILENAME " does not bear out: " phrase >"/dev/stderr"
    if (!truth) failed = 1
}
