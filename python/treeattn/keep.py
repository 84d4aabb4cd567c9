"""The tokens that a branch attends to: struct kv_keep of allocator/kv_evict.h."""

from ctypes import byref

import numpy as np

from . import c
from .checks import array, integer, power_of_two
from .errors import Error
from .memory import pointer


class Keep:
    """The tokens that a branch of an evicting pool keeps, as they were when it was read: Branch.keep, Pool.keeps.

      words          uint64 [num_blocks][words_per_block]; bit j % 64 of word j / 64: slot j of the block is kept
      num_kept       bits that are set
      next_position  of the next token
      first_private  tokens at this position or later were appended after the last fork
    """

    def __init__(self, words, block_tokens, next_position=0, first_private=0):
        self._block_tokens = power_of_two("block_tokens", block_tokens)
        array("words", words, np.uint64, (None, (self._block_tokens + 63) // 64), "[num_blocks][words_per_block]")
        if block_tokens < 64 and words.size and int(words.max()) >> block_tokens:
            raise Error(f"words: expected no bit beyond slot {block_tokens - 1}, got {int(words.max()):#x}")
        self._words = words.copy()
        self._words.flags.writeable = False
        self.num_kept = int(np.unpackbits(self._words.view(np.uint8)).sum())
        self.next_position = integer("next_position", next_position)
        self.first_private = integer("first_private", first_private)

    words = property(lambda self: self._words, doc="uint64 [num_blocks][words_per_block], for reading.")

    @property
    def kept(self):
        """bool [num_blocks][block_tokens]: True where the slot's token is kept."""
        bits = np.unpackbits(self._words.view(np.uint8), axis=1, bitorder="little")
        return bits[:, :self._block_tokens].astype(bool)

    def slot(self, slot):
        """Whether the branch keeps this slot of its table. C: kv_keep_slot."""
        integer("slot", slot, 0, len(self._words) * self._block_tokens - 1)
        return c.inline_kv_keep_slot(byref(self._struct()), self._block_tokens, slot)

    def _struct(self):
        num_blocks, words_per_block = self._words.shape
        return c.kv_keep(pointer(self._words), words_per_block, num_blocks, self.num_kept, self.next_position,
                         self.first_private)

    def __repr__(self):
        return "Keep(" + " ".join("".join("01"[int(bit)] for bit in block) for block in self.kept) + ")"
