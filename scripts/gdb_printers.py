"""gdb_printers.py: how gdb shows the types of this project, for make tour and for any other session:

    (gdb) source scripts/gdb_printers.py

    kv_table        len=9 blocks=[0 2 3]                    kv_pool    blocks of 4 tokens, references=[2 1 1 1 1 0]
    kv_branch       the table of this branch                kv_copy    copy 2 tokens of block 1 to block 2
    softmax_state   m=2 l=1.5032 o=[2.1353 1.5032 ...]      kv_node    tokens 0..3 of the path, blocks=[0], ...
    tree_item       rows=[q0 q1], tokens 0..3 of the path, blocks=[0], partial states [0 1]
    tree_range      4 tokens: blocks=[0] from slot 0

Some types do not hold all that is shown: the head_dim of a state, the pool of a branch, the tree of a node and the plan
of an item are looked up in the selected frame and its callers, under their usual names. Where none is found, the parts
that depend on it are left out.

    $halves(register)   the two fp16 numbers in a 32-bit register of a fragment, the low one first"""
import struct

import gdb


def frames():
    frame = gdb.selected_frame()
    while frame is not None:
        yield frame
        frame = frame.older()


def variable(name, type_name=None):
    """The variable of this name in the selected frame or the nearest caller that has one, pointers followed."""
    try:
        for frame in frames():
            try:
                value = frame.read_var(name)
                while value.type.strip_typedefs().code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
                    if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR and int(value) == 0:
                        raise ValueError
                    value = value.referenced_value()
                if type_name is None or value.type.strip_typedefs().tag == type_name:
                    return value
            except (ValueError, gdb.error):
                pass
    except gdb.error:
        pass
    return None


def find_plan():
    plan = variable('plan', 'tree_plan')
    if plan is None:  # in a kernel
        arguments = variable('a', 'attention_arguments')
        plan = arguments['plan'] if arguments is not None else None
    return plan


def numbers(array, first, count):
    return [int(array[first + i]) for i in range(min(int(count), 64))]


def listed(values, prefix=''):
    return '[' + ' '.join(prefix + str(value) for value in values) + ']'


def short(x):
    """Four digits behind the point, as in the book; whole numbers have none."""
    return '%.0f' % x if x == round(x, 4) == round(x) else '%.4f' % x


class Table:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        blocks = numbers(self.value['blocks'], 0, self.value['num_blocks'])
        return 'len=%d blocks=%s' % (int(self.value['length']), listed(blocks))


class Branch:
    def __init__(self, value):
        self.number = int(value)

    def to_string(self):
        pool = variable('pool', 'kv_pool')
        index, generation = self.number & 0xffffffff, self.number >> 32
        if pool is None:
            return 'record %d, generation %d' % (index, generation)
        if index >= int(pool['num_records']):
            return 'no branch of this pool'
        record = pool['records'][index]
        if not record['live'] or int(record['generation']) != generation:
            return 'no branch: pruned, or not created yet'
        return Table(record).to_string()


class Pool:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        references = numbers(self.value['ref'], 0, self.value['config']['num_blocks'])
        return 'blocks of %d tokens, references=%s' % (int(self.value['config']['block_tokens']), listed(references))


class Copy:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        if int(self.value['num_tokens']) == 0:
            return 'nothing to copy'
        return 'copy %d tokens of block %d to block %d' % tuple(
            int(self.value[name]) for name in ('num_tokens', 'from_block', 'to_block'))


class State:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        text = 'm=%s l=%s' % (short(float(self.value['m'])), short(float(self.value['l'])))
        if self.value['o'].type.strip_typedefs().code != gdb.TYPE_CODE_PTR:  # of a kernel: this lane's part
            first, last = self.value['o'].type.range()
            return text + ' o=' + listed([short(float(self.value['o'][i])) for i in range(first, last + 1)])
        head_dim = variable('head_dim')
        if head_dim is None and variable('shape', 'tree_shape') is not None:
            head_dim = variable('shape', 'tree_shape')['head_dim']
        if head_dim is None or int(self.value['o']) == 0:
            return text
        return text + ' o=' + listed([short(float(self.value['o'][d])) for d in range(min(int(head_dim), 64))])


def places(first, count):
    """Tokens of a path, by their place on it."""
    return 'token %d' % first if count == 1 else 'tokens %d..%d' % (first, first + count - 1)


def blocks_of(owner, first_block, first_slot, num_tokens):
    """Indices into the blocks of a tree or plan."""
    num_blocks = (first_slot + num_tokens + int(owner['block_tokens']) - 1) // int(owner['block_tokens'])
    return numbers(owner['blocks'], first_block, num_blocks)


class Node:
    def __init__(self, value):
        self.part = {name: int(value[name]) for name in (
            'parent', 'first_token', 'num_tokens', 'first_block', 'first_slot', 'first_row', 'num_rows')}

    def to_string(self):
        part, tree = self.part, variable('tree', 'kv_tree')
        text = places(part['first_token'], part['num_tokens']) + ' of the path'
        if tree is not None:
            text += ', blocks=' + listed(blocks_of(tree, part['first_block'], part['first_slot'], part['num_tokens']))
            text += ', seen by ' + listed(numbers(tree['rows'], part['first_row'], part['num_rows']), 'q')
        return text + (', a root' if part['parent'] == 0xffffffff else ', parent node %d' % part['parent'])


class Range:
    def __init__(self, value):
        self.part = {name: int(value[name]) for name in ('first_block', 'first_slot', 'num_tokens', 'mask')}

    def to_string(self):
        part, plan = self.part, find_plan()
        text = '%d tokens' % part['num_tokens']
        if plan is not None:
            text += ': blocks=%s' % listed(blocks_of(plan, part['first_block'], part['first_slot'], part['num_tokens']))
        return text + ' from slot %d' % part['first_slot'] + ('' if part['mask'] == 0xffffffff else ', masked')

    def on_path(self, plan):
        """As the tokens' places on the paths, if the plan knows them."""
        part = self.part
        index = int(plan['table_index'][part['first_block']]) if int(plan['table_index']) else 0xffffffff
        if index == 0xffffffff:
            return '%d tokens' % part['num_tokens']
        return places(index * int(plan['block_tokens']) + part['first_slot'], part['num_tokens'])


class Item:
    def __init__(self, value):
        self.part = {name: int(value[name]) for name in (
            'first_row', 'num_rows', 'first_range', 'num_ranges', 'num_tokens', 'first_partial')}

    def to_string(self):
        part, plan = self.part, find_plan()
        if plan is None:
            return '%d rows, %d tokens in %d ranges' % (part['num_rows'], part['num_tokens'], part['num_ranges'])
        ranges = [Range(plan['ranges'][part['first_range'] + i]) for i in range(min(part['num_ranges'], 64))]
        blocks = [block for one in ranges for block in blocks_of(
            plan, one.part['first_block'], one.part['first_slot'], one.part['num_tokens'])]
        return 'rows=%s, %s of the path, blocks=%s, partial states %s' % (
            listed(numbers(plan['rows'], part['first_row'], part['num_rows']), 'q'),
            ' and '.join(one.on_path(plan) for one in ranges), listed(blocks),
            listed(range(part['first_partial'], part['first_partial'] + part['num_rows'])))


PRINTERS = {'kv_table': Table, 'kv_pool': Pool, 'kv_copy': Copy, 'softmax_state': State, 'kv_node': Node,
            'tree_range': Range, 'tree_item': Item}


def find_printer(value):
    if value.type.name == 'kv_branch':
        return Branch(value)
    tag = value.type.strip_typedefs().tag
    printer = PRINTERS.get(tag.split('<')[0]) if tag else None
    return printer(value) if printer else None


class Halves(gdb.Function):
    """$halves(register): the two fp16 numbers of a 32-bit register, the low one first."""

    def __init__(self):
        super().__init__('halves')

    def invoke(self, register):
        return '%s %s' % tuple(short(x) for x in struct.unpack('<ee', struct.pack('<I', int(register) & 0xffffffff)))


find_printer.name = 'treeattn'
gdb.pretty_printers[:] = [p for p in gdb.pretty_printers if getattr(p, 'name', '') != 'treeattn']
gdb.pretty_printers.insert(0, find_printer)
Halves()
