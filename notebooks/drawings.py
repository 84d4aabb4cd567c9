"""Drawings of notebooks 1, 2, 3 and 8: the blocks of a pool, stacked bars, the items of a plan, the strips of workers, the
lines of a tree of thoughts, and texts as strips."""
import picture

COUNTS = ("#ffffff", "#86b0ea", "#3f76cf", "#0b2f7f")  # of a block in no table, in one, in two, in three or more
INK = ("#5f5f5f", "#10284d", "#ffffff", "#ffffff")
COPIED = "#e8711a"
LINE = "#bbbbbb"


def _box(rows, name):
    """x0, x1, y0, y1 and a colour for each box, as a data block."""
    return picture.block(name, [(x0, x1, y0, y1, int(colour[1:], 16)) for x0, x1, y0, y1, colour in rows])


def _boxes(name, border=LINE, fill=True, width=1):
    return ("$%s using (($1+$2)/2):(($3+$4)/2):(($2-$1)/2):(($4-$3)/2):5 with boxxyerror fc rgb variable "
            "fs %s border lc rgb '%s' lw %g dt 1 notitle" % (name, "solid 1" if fill else "empty", border, width))


def _labels(rows, name):
    return "$%s << end_of_data\n%s\nend_of_data\n" % (name, "\n".join(
        '%r,%r,%s,%d' % (x, y, picture.text(string), int(colour[1:], 16)) for x, y, string, colour in rows))


def _plain(title, x, y):
    return ("set title %s\nunset border\nunset tics\nunset grid\nunset key\nset xrange [%r:%r]\nset yrange [%r:%r]\n"
            % ((picture.text(title),) + x + y))


def pool(memory, counts, title, copied=()):
    """The blocks of a small pool, coloured by reference count.
    memory: a row for each block, the token of each slot or -1; counts: a number for each block; copied: the (block, slot)
    that an append has just copied, in orange."""
    slots = len(memory[0])
    boxes, edges, labels = [], [], []
    for block, (tokens, count) in enumerate(zip(memory, counts)):
        left, shade = block * (slots + 0.8), min(int(count), 3)
        for slot, token in enumerate(tokens):
            x = left + slot
            seen = count > 0 and token >= 0
            boxes.append((x, x + 1, 0, 1, COUNTS[shade if seen else 0]))
            if seen:
                labels.append((x + 0.5, 0.5, str(int(token)), INK[shade]))
            if (block, slot) in copied:
                edges.append((x + 0.05, x + 0.95, 0.06, 0.94, COPIED))
        labels.append((left + slots / 2, -0.3, "block %d" % block, "#5f5f5f"))
        labels.append((left + slots / 2, -0.68, "free" if count == 0 else "count %d" % count, "#000000"))
    script = _box(boxes, "boxes") + _labels(labels, "labels")
    plots = [_boxes("boxes"), "$labels using 1:2:3:4 with labels tc rgb variable notitle"]
    if edges:
        script += _box(edges, "edges")
        plots.insert(1, _boxes("edges", COPIED, False, 2))
    right = len(memory) * (slots + 0.8) - 0.8
    picture.gnuplot(script + _plain(title, (-0.2, right + 0.2), (-0.95, 1.15)) + "set lmargin 1; set rmargin 1\nplot "
                    + ", ".join(plots),
                    "%s. Counts of the blocks: %s" % (title, " ".join(str(int(c)) for c in counts)), 840, 170)


def pools(sides, title, across=24):
    """Large pools side by side, a square for each block that is in use. sides: (name, counts) each."""
    boxes, labels = [], []
    for number, (name, counts) in enumerate(sides):
        left = number * (across + 3)
        labels.append((left, 1.6, name, "#000000"))
        for block, count in enumerate(counts):
            x, y = left + block % across, -(block // across)
            boxes.append((x + 0.08, x + 0.92, y + 0.08, y + 0.92, COUNTS[min(int(count), 3)]))
    rows = max((len(counts) + across - 1) // across for _, counts in sides)
    for i, name in enumerate(("free", "in one table", "in two", "in three or more")):
        x = i * 9
        boxes.append((x, x + 0.84, -rows - 0.9, -rows - 0.06, COUNTS[i]))
        labels.append((x + 1.3, -rows - 0.5, name, "#000000"))
    script = _box(boxes, "boxes") + _labels(labels, "labels")
    right = len(sides) * (across + 3) - 3
    picture.gnuplot(script + _plain(title, (-0.5, right + 0.5), (-rows - 1.4, 2.4)) + "set lmargin 1; set rmargin 1\nplot "
                    + _boxes("boxes") + ", $labels using 1:2:3:4 with labels left tc rgb variable notitle",
                    "%s. %s" % (title, "; ".join("%s: %d blocks in use" % (name, sum(c > 0 for c in counts))
                                                 for name, counts in sides)), 840, 60 + 16 * (rows + 3))


PARTS = {"K and V": "#0b2f7f", "queries": "#86b0ea", "masks": "#b07cd0", "partial states": "#e8a317"}


def bars(names, parts, title, unit, colours=None, ends=None):
    """Stacked bars from left to right. parts: for each name, a number for each of colours, which are PARTS or others. ends:
    the texts behind the bars; without them, the sums."""
    colours = colours or PARTS
    ends = ends or ["%.1f %s" % (sum(row), unit) for row in parts]
    boxes, labels = [], []
    most = max(sum(row) for row in parts)
    for i, (name, row) in enumerate(zip(names, parts)):
        left = 0
        for value, colour in zip(row, colours.values()):
            boxes.append((left, left + value, -i - 0.36, -i + 0.36, colour))
            left += value
        labels.append((left + most * 0.01, -i, ends[i], "#000000"))
    for i, (name, colour) in enumerate(colours.items()):
        x = most * (0.02 + 0.25 * i)
        boxes.append((x, x + most * 0.02, -len(names) - 0.75, -len(names) - 0.25, colour))
        labels.append((x + most * 0.03, -len(names) - 0.5, name, "#000000"))
    tics = ", ".join("%s %d" % (picture.text(name), -i) for i, name in enumerate(names))
    script = _box(boxes, "boxes") + _labels(labels, "labels") + _plain(title, (0, most * 1.12), (-len(names) - 1, 0.7))
    picture.gnuplot(script + "set lmargin 16; set rmargin 1; set ytics (%s) nomirror scale 0\nplot " % tics
                    + _boxes("boxes", "#ffffff", width=0.5) + ", $labels using 1:2:3:4 with labels left tc rgb variable notitle",
                    "%s: %s" % (title, "; ".join("%s %s" % pair for pair in zip(names, ends))), 840, 90 + 30 * len(names))


CYCLE = ("#86b0ea", "#a5d86a", "#f0c040", "#e8a07a", "#b07cd0", "#7fcac0", "#d9a3b8", "#c9b38c")  # items, in turn


def items(tree, plan, tokens, title):
    """A plan as rectangles: a column for each stored token, node by node, a row for each query, a colour and a number for
    each item. A dot is a pair that a mask hides. tokens: the name of the token at each place of the pool, block *
    block_tokens + slot."""
    blocks, size, columns = tree.blocks, tree.block_tokens, {}
    for node in tree.nodes:
        for slot in range(node.first_slot, node.first_slot + node.num_tokens):
            columns[int(blocks[node.first_block + slot // size]) * size + slot % size] = len(columns)
    parts = [(number, columns[int(place)], int(query), not seen)
             for number in range(plan.num_items)
             for query, row in zip(plan.item_queries(number), plan.item_sees(number))
             for place, seen in zip(plan.item_slots(number), row)]
    boxes, labels, named = [], [], set()
    for number, x, query, hidden in parts:
        colour = CYCLE[number % len(CYCLE)]
        boxes.append((x, x + 1, -query, -query + 1, colour))
        if hidden:
            labels.append((x + 0.5, -query + 0.5, "·", "#000000"))
        elif (number, query) not in named:
            labels.append((x + 0.5, -query + 0.5, str(number), "#000000"))
            named.add((number, query))
    for place, x in columns.items():
        labels.append((x + 0.5, 1.4, str(int(tokens[place])), "#5f5f5f"))
    queries = plan.num_queries
    for query in range(queries):
        labels.append((-0.9, -query + 0.5, "query %d" % query, "#000000"))
    labels.append((-0.9, 1.4, "token", "#5f5f5f"))
    script = _box(boxes, "boxes") + _labels(labels, "labels") + _plain(title, (-2, len(columns) + 0.5), (-queries + 0.6, 2))
    picture.gnuplot(script + "set lmargin 1; set rmargin 1\nplot " + _boxes("boxes", "#ffffff")
                    + ", $labels using 1:2:3:4 with labels tc rgb variable notitle",
                    "%s: %d items" % (title, plan.num_items), 840, 80 + 32 * (queries + 1))


def strips(plans, title, unit):
    """The work of several plans on the same workers, from left to right. plans: for each plan its name and, for each
    worker, the (price, number of queries) of its items in turn. A red line is the end of the last worker."""
    boxes, ends, means, labels, y, tics = [], [], [], [], 0, []
    most = max(sum(price for price, _ in worker) for _, workers in plans for worker in workers)
    for name, workers in plans:
        loads = [sum(price for price, _ in worker) for worker in workers]
        top = y
        for worker in workers:
            x = 0
            for price, queries in worker:
                boxes.append((x, x + price, y - 0.92, y - 0.08, COUNTS[min(queries, 3)]))
                x += price
            y -= 1
        end, mean = max(loads), sum(loads) / len(loads)
        ends.append((end, end, y, top))
        means.append((mean, mean, y, top))
        labels.append((end + most * 0.01, (top + y) / 2, "%.0f" % end, "#000000"))
        tics.append("%s %r" % (picture.text(name), (top + y) / 2))
        y -= 1
    for i, name in ((1, "an item for one query"), (2, "for two"), (3, "for three or more")):
        x = most * (0, 0, 0.27, 0.42)[i]
        boxes.append((x, x + most * 0.02, y - 1.6, y, COUNTS[i]))
        labels.append((x + most * 0.03, y - 0.8, name, "#000000"))
    script = _box(boxes, "boxes") + _labels(labels, "labels")
    for name, lines in ("ends", ends), ("means", means):
        script += picture.block(name, [(x, low, 0, high - low) for x, _, low, high in lines])
    rows = -y
    picture.gnuplot(script + _plain(title, (0, most * 1.08), (y - 4.2, 0.5)) + "set lmargin 14; set rmargin 1\n"
                    "set ytics (%s) nomirror scale 0\nset label 1 'red: the last worker ends, in %s; "
                    "black: all would end, if the work were even' at %r,%r left tc rgb '#5f5f5f'\nplot "
                    % (", ".join(tics), unit, 0, y - 3)
                    + _boxes("boxes", "#ffffff", width=0.5) +
                    ", $ends using 1:2:3:4 with vectors nohead lc rgb '#c62828' lw 2.5 dt 1 notitle"
                    ", $means using 1:2:3:4 with vectors nohead lc rgb '#000000' lw 2 dt (3,2) notitle"
                    ", $labels using 1:2:3:4 with labels left tc rgb variable notitle",
                    "%s. The last worker ends at: %s" % (title, ", ".join("%s %.0f" % (name, end[0])
                                                         for (name, _), end in zip(plans, ends))),
                    840, 120 + int(6.5 * rows))


KEPT, PRUNED = "#0b2f7f", "#7f7f7f"


def rows_of(nodes):
    """The row of each thought in a drawing, -1 for the prompt, and the number of rows. The first thought behind a kept one
    goes on in its row."""
    rows, lowest = {}, 0

    def place(i):
        nonlocal lowest
        children = [j for j, thought in enumerate(nodes) if thought["parent"] == i]
        for child in children:
            place(child)
        rows[i] = rows[children[0]] if children else lowest
        lowest += not children

    place(-1)
    return rows, lowest


def thoughts(nodes, starts, characters, forks, title):
    """The lines of a tree of thoughts: a column for each step, a row for each line, dark what is kept.
    nodes: the thoughts, as `treeattn think --format json` has them; starts: the first step of the prompt and of each level;
    characters: (step, thoughts that share it, character); forks: (step, thought, new thought)."""
    rows, num_rows = rows_of(nodes)
    kept = {-1} | {i for i, thought in enumerate(nodes) if thought["fate"] == "kept"}
    labels = [(step + 0.5, -rows[some[0]], character, KEPT if kept & set(some) else PRUNED)
              for step, some, character in characters]
    heads = [(first, 1.3, "level %d" % i if i else "prompt", "#000000") for i, first in enumerate(starts)]
    last = max(step for step, _, _ in characters)
    script = (_labels(labels, "labels") + _labels(heads, "heads")
              + picture.block("forks", [(step, -rows[old], 0, rows[old] - rows[new]) for step, old, new in forks])
              + picture.block("levels", [(first - 0.1, 1.8, 0, -num_rows - 1.3) for first in starts[1:]]))
    picture.gnuplot(script + _plain(title, (-0.5, last + 1.5), (-num_rows + 0.3, 2.1)) + "set lmargin 1; set rmargin 1\n"
                    "plot $levels using 1:2:3:4 with vectors nohead lc rgb '#dddddd' lw 1.5 dt 1 notitle"
                    ", $forks using 1:2:3:4 with vectors nohead lc rgb '#86b0ea' lw 1 dt 1 notitle"
                    ", $labels using 1:2:3:4 with labels center font ',11' tc rgb variable notitle"
                    ", $heads using 1:2:3:4 with labels left font ',12' tc rgb variable notitle",
                    "%s. %d lines, %d steps, %d characters" % (title, num_rows, last + 1, len(characters)),
                    840, 60 + 17 * (num_rows + 2))


LINES = {"a new line": "#86b0ea", "repeats a line": "#f0c040", "not legal": "#c62828"}


def texts(rows, title, most):
    """Texts as strips from left to right, a box for each line. rows: (name, [(characters, one of LINES)], budget or None, the
    text behind it); most: the characters that the picture shows."""
    boxes, labels, marks = [], [], []
    for i, (name, lines, budget, end) in enumerate(rows):
        left = 0
        for characters, kind in lines:
            boxes.append((left, min(left + characters, most), -i - 0.36, -i + 0.36, LINES[kind]))
            left = min(left + characters, most)
        labels.append((left + most * 0.01, -i, end, "#000000"))
        if budget:
            marks.append((budget, -i - 0.46, 0, 0.92))
    for i, (name, colour) in enumerate(LINES.items()):
        x = most * 0.28 * i
        boxes.append((x, x + most * 0.02, -len(rows) - 0.75, -len(rows) - 0.25, colour))
        labels.append((x + most * 0.03, -len(rows) - 0.5, name, "#000000"))
    labels.append((most * 0.8, -len(rows) - 0.5, "black: the budget is full", "#000000"))
    tics = ", ".join("%s %d" % (picture.text(row[0]), -i) for i, row in enumerate(rows))
    script = _box(boxes, "boxes") + _labels(labels, "labels") + picture.block("marks", marks)
    picture.gnuplot(script + _plain(title, (0, most * 1.25), (-len(rows) - 1, 0.7))
                    + "set lmargin 20; set rmargin 1; set ytics (%s) nomirror scale 0\nplot " % tics
                    + _boxes("boxes", "#ffffff", width=0.5) + ", $marks using 1:2:3:4 with vectors nohead lc rgb '#000000' "
                    "lw 3 dt 1 notitle, $labels using 1:2:3:4 with labels left tc rgb variable notitle",
                    "%s: %s" % (title, "; ".join("%s: %s" % (row[0], row[3]) for row in rows)), 840, 90 + 30 * len(rows))
