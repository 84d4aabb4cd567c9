# The output of build/tiny_tree as csv: tables, slots and reference counts after each of its calls.
#   token   index branch, place position, value token         cell   index block, place slot, value token
#   entry   index branch, place in the table, value block     refs   index block, value references
#   copy    index from, place to, value tokens               length  index branch, value tokens
# changed: 1 if the step before had another value there.
function put(kind, i, place, value,    key) {
    key = kind " " i " " place
    now[key] = value
    printf "%d,%s,%s,%s,%s,%d\n", step, kind, i, place, value, key in before ? before[key] != value : kind != "refs" || value
}
function end_step(    b, t, k, n, table, block) {
    if (counts == "") return
    for (k in now) delete now[k]
    for (b = 0; b < 2; b++) {
        if (!(b in tables)) continue
        n = split(tables[b], table, " ")
        put("length", b, 0, lengths[b])
        for (k = 1; k <= n; k++) put("entry", b, k - 1, table[k])
        for (t = 0; t < lengths[b]; t++) {
            put("token", b, t, history[b, t])
            block = table[int(t / 4) + 1]
            if (!((block, t % 4) in drawn) || drawn[block, t % 4] != step) put("cell", block, t % 4, history[b, t])
            drawn[block, t % 4] = step
        }
    }
    n = split(counts, table, " ")
    for (k = 1; k <= n; k++) put("refs", k - 1, 0, table[k])
    if (copied != "") printf "%d,copy,%s,1\n", step, copied
    for (k in before) delete before[k]
    for (k in now) before[k] = now[k]
    for (b in tables) delete tables[b]
    copied = counts = ""
}
BEGIN { print "# command: build/tiny_tree | awk -f figures/steps/tiny.awk"; print "step,kind,index,place,value,changed" }
/^(create|fork|append|prune|find)/ { end_step() }
/^find/ { skip = 1; next }
/^prune/ { skip = 0 }
skip { next }
/^(create|fork|append|prune)/ { step++ }
/^create/ { branch = 0; appended = $(NF - 1) }
/^fork/ { for (t = 0; t < length_of[0]; t++) history[1, t] = history[0, t]; length_of[1] = length_of[0]; appended = 0 }
/^append/ { branch = substr($6, 1, 1); appended = $2 }
/^prune/ { appended = 0 }
/^(create|append)/ { for (t = 0; t < appended; t++) history[branch, length_of[branch]++] = token++ + 0 }
/^    branch/ { b = substr($2, 1, 1); lengths[b] = substr($3, 5) + 0; list = $0; sub(/.*\[/, "", list); sub(/\].*/, "", list); tables[b] = list }
/^    copy/ { copied = $6 "," $9 "," $2 }
/^    references/ { counts = $0; sub(/.*: /, "", counts) }
END { end_step() }
