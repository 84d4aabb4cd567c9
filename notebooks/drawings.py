"""Drawings of notebooks 1 and 3: the blocks of a pool, the items of a plan, the strips of workers."""
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
