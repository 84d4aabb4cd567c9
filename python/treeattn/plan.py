"""A strategy is a plan: reference/plan."""

import dataclasses
import weakref
from ctypes import byref, c_int, c_uint64, create_string_buffer

import numpy as np

from . import c
from .checks import U32_MAX, choice, describe, instance, integer, objects, text
from .errors import Error, raise_tree
from .handle import Handle, Owner, lock
from .memory import array_field, copied, field
from .keep import Keep
from .pool import MESSAGE_BYTES
from .shape import Shape
from .tree import Tree

STRATEGIES = c.TREE_STRATEGIES
VARIANTS = c.TRAFFIC_VARIANTS
NO_MASK = c.TREE_NO_MASK


def tree_strategy_from_name(name):
    """The number of a strategy in C; None for an unknown name. C: tree_strategy_from_name."""
    strategy = c_int()
    return strategy.value if c.tree_strategy_from_name(text("name", name), byref(strategy)) else None


def tree_prices_of(target="gpu"):
    """The prices by which "cost" plans for a target, by name. C: tree_prices_of."""
    with lock:
        return c.as_dict(c.tree_prices_of(choice("target", target, c.TREE_TARGETS)).contents)


# All other arguments were checked before.
BAD_PRICES = "prices: expected each within its bounds, which reference/plan/tree_plan.h has at tree_prices"


def _prices(prices, target):
    if prices is None:
        return c.tree_prices()
    if not isinstance(prices, dict):
        raise Error(f"prices: expected a dict, got {describe(prices)}")
    known = tree_prices_of(target)
    for name, price in prices.items():
        if name not in known:
            raise Error(f"prices: expected names of {', '.join(known)}; got {describe(name)}")
        known[name] = integer(f"prices: {name}", price, 1 if name == "token_bytes" else 0)
    return c.tree_prices(**known)


def _config(strategy, target, max_rows, piece_tokens, group_size, num_workers, prices):
    return c.tree_plan_config(choice("strategy", strategy, STRATEGIES), choice("target", target, c.TREE_TARGETS),
                              integer("max_rows", max_rows), integer("piece_tokens", piece_tokens, 0, 1 << 30),
                              integer("group_size", group_size, 0, 1 << 16), integer("num_workers", num_workers),
                              _prices(prices, target))


def _keep_structs(tree, keeps):
    keeps = objects("keeps", keeps, Keep)
    if len(keeps) != tree.num_queries:
        raise Error(f"keeps: expected as many as queries, {tree.num_queries}, got {len(keeps)}")
    structs = (c.kv_keep * len(keeps))(*(keep._struct() for keep in keeps))
    structs.keeps = keeps  # their words live as long as the structs
    return structs


def tree_plan_bytes(tree, strategy="cost", *, target="gpu", max_rows=0, piece_tokens=0, group_size=0, num_workers=0,
                    prices=None):
    """Bytes of the plan that Plan would build from the same arguments. C: tree_plan_bytes."""
    config = _config(strategy, target, max_rows, piece_tokens, group_size, num_workers, prices)
    size = c_uint64()
    with lock:
        raise_tree(c.tree_plan_bytes(byref(size), instance("tree", tree, Tree)._pointer, byref(config)),
                   TREE_INVAL=BAD_PRICES)
    return size.value


class Plan(Owner):
    """The work of one step over a tree, as data: a list of items, each some queries and the tokens that they see.

      strategy      "flash", "flash_decoding", "radix", "tree_mask", "node", "node_chunk", "flatten" or "cost"
      target        whose prices "cost" uses, "gpu" or "cpu"
      max_rows      queries of one item; 0: the strategy's own
      piece_tokens  tokens of a piece; 0: the strategy's own
      group_size    num_heads / num_kv_heads, for "cost"; 0: 4
      num_workers   SMs or cores that "cost" balances over; 0: 132
      prices        of "cost", by name; those of tree_prices_of(target) stand in for the others
      keeps         pool.keeps(branches), for branches that evicted tokens
      masks         the ranges that get a mask besides those that need one: "needed" (none), "private" or "all"

    The plan does not need the tree afterwards. Error: TREE_INVAL, TREE_OVERFLOW (too large).
    C: tree_plan_build, tree_plan_build_keep, tree_plan_destroy.
    """

    def __init__(self, tree, strategy="cost", *, target="gpu", max_rows=0, piece_tokens=0, group_size=0,
                 num_workers=0, prices=None, keeps=None, masks="needed"):
        instance("tree", tree, Tree)
        config = _config(strategy, target, max_rows, piece_tokens, group_size, num_workers, prices)
        masks = choice("masks", masks, c.TREE_KEEP_MASKS)
        plan = c.P(c.tree_plan)()
        with lock:
            if keeps is None:
                raise_tree(c.tree_plan_build(byref(plan), tree._pointer, byref(config)), TREE_INVAL=BAD_PRICES)
            else:
                raise_tree(c.tree_plan_build_keep(byref(plan), tree._pointer, byref(config),
                                                  _keep_structs(tree, keeps), masks), TREE_INVAL=
                           "keeps: expected those of the tree's tables, block by block, and a tree without drafts")
        self._handle = Handle(plan, c.tree_plan_destroy)
        self._tree = weakref.ref(tree)

    def grow(self, tree):
        """Follows the tree that it was built from, whose grow() returned True. False: build again; nothing has changed
        then. C: tree_plan_grow."""
        with lock:
            return self._call(c.tree_plan_grow, self._own_tree(tree))

    def set_keep(self, tree, keeps):
        """Rewrites the masks for new keep words of the tables of the tree that it was built from. False: build again;
        nothing has changed then. C: tree_plan_set_keep."""
        with lock:
            pointer = self._own_tree(tree)
            return self._call(c.tree_plan_set_keep, pointer, _keep_structs(tree, keeps))

    def _own_tree(self, tree):
        """The pointer of a tree, which has to be the one that the plan was built from."""
        self._pointer  # raises if the plan is closed
        if self._tree() is not instance("tree", tree, Tree):
            raise Error("tree: expected the one that the plan was built from, since block ids are not compared; "
                        "build a new Plan")
        return tree._pointer

    def check(self, tree, keeps=None):
        """Error TREE_BAD_PLAN if a query and a token that it sees are covered twice or never. Slow.
        C: tree_plan_check, tree_plan_check_keep."""
        message = create_string_buffer(MESSAGE_BYTES)
        with lock:
            pointer = instance("tree", tree, Tree)._pointer
            if keeps is None:
                status = self._call(c.tree_plan_check, pointer, message, MESSAGE_BYTES)
            else:
                status = self._call(c.tree_plan_check_keep, pointer, _keep_structs(tree, keeps), message, MESSAGE_BYTES)
        raise_tree(status, message.value.decode())

    def fits(self, shape):
        """Error TREE_BAD_SHAPE or TREE_BAD_PLAN if attention of this Shape cannot run the plan. C: tree_plan_fits."""
        instance("shape", shape, Shape).check()
        with lock:
            status = self._call(c.tree_plan_fits, byref(shape._struct()))
            raise_tree(status, f"{shape!r} does not fit a plan of {self.num_queries} queries over blocks of "
                       f"{self.block_tokens} tokens, the largest block id {self.max_block}")

    # ---- what it holds: copies ----

    @property
    def config(self):
        """The arguments by name, defaults filled in."""
        with lock:
            config = c.as_dict(self._field("config"))
        return {**config, "strategy": STRATEGIES[config["strategy"]], "target": c.TREE_TARGETS[config["target"]],
                "prices": c.as_dict(config["prices"])}

    block_tokens = field("block_tokens", "Tokens of a block.")
    num_queries = field("num_queries", "Queries.")
    num_items = field("num_items", "Items.")
    num_ranges = field("num_ranges", "Ranges of all items.")
    num_partials = field("num_partials", "Partial states: rows of all items.")
    max_block = field("max_block", "The largest block id; 0 if none.")
    unique_tokens = field("unique_tokens", "U of the tree.")
    path_tokens = field("path_tokens", "S of the tree.")
    loaded_tokens = field("loaded_tokens", "Tokens that the items load.")
    masked_pairs = field("masked_pairs", "(row, token) pairs that a mask hides: computed, but not used.")

    items = array_field("items", "num_items", """[num_items] record array: first_row, num_rows (of rows), first_range,
        num_ranges (of ranges), num_tokens, first_partial: row r of the item writes partial state first_partial + r.""")
    ranges = array_field("ranges", "num_ranges", """[num_ranges] record array: first_block (of blocks), first_slot,
        num_tokens, mask (of masks; NO_MASK: every row sees every token).""")
    blocks = array_field("blocks", "num_blocks", "Block ids.")
    table_index = array_field("table_index", "num_blocks", """Index of each block in the tables that list it; NONE in
        a plan over draft tokens.""")
    rows = array_field("rows", "num_queries", "[num_queries] query ids.")
    masks = array_field("masks", "num_mask_words", """uint64. Token t of a masked range of an item has the words
        masks[range.mask + t * words:][:words], words = ceil(num_rows / 64); bit j of word w: row 64 w + j sees it.""")
    merge_partials = array_field("merge_partials", "num_partials", """[num_partials] partial states in the order of the
        queries that merge them.""")

    @property
    def merge_first(self):
        """[num_queries + 1] query q merges merge_partials[merge_first[q]:merge_first[q + 1]]."""
        with lock:
            return copied(self._field("merge_first"), self.num_queries + 1)

    def item_queries(self, item):
        """[num_rows] the queries of an item."""
        with lock:
            item = self.items[integer("item", item, 0, self.num_items - 1)]
            return self.rows[item.first_row:item.first_row + item.num_rows]

    def item_slots(self, item):
        """[num_tokens] the places in the pool of an item's tokens, block * block_tokens + slot in the block."""
        with lock:
            item = self.items[integer("item", item, 0, self.num_items - 1)]
            blocks, places = self.blocks.astype(np.int64), []
            for r in self.ranges[item.first_range:item.first_range + item.num_ranges]:
                slots = r.first_slot + np.arange(r.num_tokens)
                places.append(blocks[r.first_block + slots // self.block_tokens] * self.block_tokens +
                              slots % self.block_tokens)
            return np.concatenate(places)

    def item_sees(self, item):
        """[num_rows][num_tokens] bool: whether the item's row sees its token."""
        with lock:
            item = self.items[integer("item", item, 0, self.num_items - 1)]
            words, masks, columns = -(-int(item.num_rows) // 64), self.masks, []
            for r in self.ranges[item.first_range:item.first_range + item.num_ranges]:
                if r.mask == NO_MASK:
                    columns.append(np.ones((r.num_tokens, item.num_rows), bool))
                    continue
                bits = masks[r.mask:r.mask + r.num_tokens * words].reshape(r.num_tokens, words)
                columns.append(np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, :item.num_rows] == 1)
            return np.concatenate(columns).T

    def __repr__(self):
        if self.closed:
            return "Plan(closed)"
        return f"Plan({self.config['strategy']}: items={self.num_items}, loaded_tokens={self.loaded_tokens}, " \
               f"partials={self.num_partials})"


# ---- traffic.h ----

class Traffic(dict):
    """Bytes of one layer and step by name, also as attributes: logical_bytes (K and V of S tokens), unique_bytes (of
    U), plan_bytes (that the items load), query_bytes, out_bytes, mask_bytes, partial_bytes."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def tree_traffic_count(plan, shape, variant="packed"):
    """The Traffic of a plan. Of the Shape, only heads, head_dim and storage count.

    variant: "packed" (ours: the heads of a group share each load), "deft_counted" or "deft_issued" (docs/plans.md).
    C: tree_traffic_count.
    """
    instance("plan", plan, Plan)
    traffic = c.tree_traffic()
    with lock:
        shape = dataclasses.replace(instance("shape", shape, Shape), num_queries=plan.num_queries,
                                    block_tokens=plan.block_tokens, num_blocks=min(plan.max_block + 1, U32_MAX))
        plan.fits(shape)
        raise_tree(c.tree_traffic_count(byref(traffic), plan._pointer, byref(shape._struct()),
                                        choice("variant", variant, VARIANTS)))
    return Traffic(c.as_dict(traffic))


def _tree_traffic(function, tree, shape):
    instance("tree", tree, Tree)
    traffic = c.tree_traffic()
    with lock:
        shape = dataclasses.replace(instance("shape", shape, Shape), num_queries=tree.num_queries,
                                    block_tokens=tree.block_tokens)
        shape.check()
        raise_tree(function(byref(traffic), tree._pointer, byref(shape._struct())))
    return Traffic(c.as_dict(traffic))


def tree_traffic_standard(tree, shape):
    """The Traffic of standard_attention_ref, over a copy of the keys per query. C: tree_traffic_standard."""
    return _tree_traffic(c.tree_traffic_standard, tree, shape)


def tree_traffic_dense_mask(tree, shape):
    """The Traffic of dense_mask_attention_ref, as DeFT counts Medusa. C: tree_traffic_dense_mask."""
    return _tree_traffic(c.tree_traffic_dense_mask, tree, shape)
