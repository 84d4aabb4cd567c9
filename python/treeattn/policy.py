"""The choice of tokens to forget: reference/eviction/eviction_policy.h."""

import ctypes
from ctypes import byref

import numpy as np

from . import c
from .checks import U64_MAX, array, describe, instance, integer, text
from .errors import Error
from .handle import lock
from .memory import pointer
from .attention import scale_of
from .importance import attention_weights, checked_tokens, token_struct, value_norm
from .shape import shape_of


class EvictionView:
    """All that a policy sees: one branch and one layer, after the attention of a step.

      queries     float32 [num_queries][num_heads][head_dim] of the last positions, the current last
      key, value  float32 [num_blocks][num_kv_heads][block_tokens][head_dim]
      tokens      the kept Tokens
      budget      tokens
      norm        value_norm of each token; None: computed
      seed        for the policy random

    weights and out are those of the current query, as attention_weights returns them.
    """

    def __init__(self, queries, key, value, tokens, budget, *, norm=None, scale=None, seed=0):
        self.shape = shape_of(queries, key, value, storages=("fp32",))
        if not len(queries):
            raise Error("queries: expected at least the current query, got none")
        self.tokens = checked_tokens("tokens", tokens, self.shape.num_blocks, self.shape.block_tokens)
        if not len(self.tokens.slots):
            raise Error("tokens: expected at least one token, got none")
        norm = value_norm(value) if norm is None else array("norm", norm, np.float32, key.shape[:3])
        scale = scale_of(scale, self.shape.head_dim)
        self.weights, self.out, _ = attention_weights(queries[-1], key, value, self.tokens, scale)
        # The struct points into these arrays, and not into attributes, which can be replaced.
        scratch = np.empty(2 * len(self.tokens.slots))
        arrays = key, value, norm, self.weights, self.out, queries
        self._memory = (*arrays, scratch, *self.tokens)
        self._struct = c.eviction_view(
            ctypes.pointer(token_struct(self.tokens)), ctypes.pointer(self.shape._struct()), *map(pointer, arrays),
            len(queries), integer("budget", budget, 1), scale, integer("seed", seed, 0, U64_MAX), pointer(scratch))


class EvictionPolicy:
    """A policy of the library: its name, variant (the difference to the publication), source, window (queries that a
    view must hold) and interval (tokens above the budget that start an eviction; 0: nothing is evicted)."""

    def __init__(self, name):
        self._policy = c.eviction_policy_from_name(text("policy", name))
        if not self._policy:
            raise Error(f"policy: expected one of {', '.join(map(repr, POLICIES))}, got {describe(name)}")
        policy = self._policy.contents
        self.name, self.variant, self.source = (value.decode() for value in
                                                (policy.name, policy.variant, policy.source))
        self.window, self.interval = policy.window, policy.interval

    def __repr__(self):
        return f"EvictionPolicy({self.name!r})"

    def candidates(self, view):
        """(first, end): the positions that may be evicted."""
        struct = instance("view", view, EvictionView)._struct
        with lock:
            found = self._policy.contents.candidates(byref(struct))
        return found.first, found.end

    def observe(self, view, history):
        """Adds this step to history, float64 [num_tokens], in place; a policy without a history changes nothing."""
        struct, history = self._arguments(view, history)
        if self._policy.contents.observe:
            with lock:
                self._policy.contents.observe(pointer(history), byref(struct))

    def score(self, view, history=None):
        """float64 [num_tokens]: the lowest is evicted first; ties: the oldest. history: None means zeros."""
        if history is None:
            history = np.zeros(instance("view", view, EvictionView)._struct.tokens.contents.num_tokens)
        struct, history = self._arguments(view, history)
        score = np.empty(len(history))
        with lock:
            self._policy.contents.score(pointer(score), pointer(history), byref(struct))
        return score

    @staticmethod
    def _arguments(view, history):
        struct = instance("view", view, EvictionView)._struct
        array("history", history, np.float64, (struct.tokens.contents.num_tokens,), "[num_tokens]")
        if not history.flags.writeable:
            raise Error("history: expected an array that can be written")
        return struct, history


POLICIES = tuple(policy.contents.name.decode() for policy in c.eviction_policies)


def eviction_policy_from_name(name):
    """The EvictionPolicy of this name; None if there is none. C: eviction_policy_from_name."""
    return EvictionPolicy(name) if c.eviction_policy_from_name(text("name", name)) else None


def eviction_all(view):
    """(first, end) of all positions. C: eviction_all."""
    found = c.eviction_all(byref(instance("view", view, EvictionView)._struct))
    return found.first, found.end


def eviction_between(view, num_sinks, num_recent):
    """(first, end) of all positions but the first num_sinks and the last num_recent. C: eviction_between."""
    found = c.eviction_between(byref(instance("view", view, EvictionView)._struct), integer("num_sinks", num_sinks),
                               integer("num_recent", num_recent))
    return found.first, found.end


def policy_pointer(name, policy):
    """For C, from a name or an EvictionPolicy."""
    if not isinstance(policy, EvictionPolicy):
        if not isinstance(policy, str):
            raise Error(f"{name}: expected a name or an EvictionPolicy, got {describe(policy)}")
        policy = EvictionPolicy(policy)
    return policy._policy
