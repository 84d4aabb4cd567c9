"""Queries, keys and values of a synthetic decode: reference/workloads/stream.h."""

import sys
from ctypes import byref
from typing import NamedTuple

import numpy as np

from . import c
from .checks import U64_MAX, choice, integer, number, text
from .errors import Error, raise_tree
from .handle import Handle, Owner, lock
from .memory import pointer
from .shape import Shape

MOST = sys.float_info.max
PRESETS = tuple(preset.name.decode() for preset in c.stream_presets)


def stream_preset_from_name(name):
    """(arguments of Stream as a dict, a sentence); None for an unknown name. C: stream_preset_from_name."""
    preset = c.stream_preset_from_name(text("name", name))
    return (c.as_dict(preset.contents.config), preset.contents.sentence.decode()) if preset else None


class StreamToken(NamedTuple):
    """query float32 [num_heads][head_dim], key and value float32 [num_kv_heads][head_dim]."""
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray


class Stream(Owner):
    """Tokens of a synthetic decode, one at a time, without end; use it in a for statement or call next().

      preset        one of ta.PRESETS, whose arguments the others replace
      num_heads, num_kv_heads, head_dim
      num_topics    1 .. 65536; dwell_tokens: a topic lasts so long; 0: the first one stays
      rho           0 .. 1: how much of the last query the next one keeps
      logit_scale   standard deviation of the scores
      focus         0 .. 1: share of the topic in a query
      value_noise   of a value about its topic's mean
      seed          the same bits on every machine

    Error: TREE_BAD_SHAPE. C: stream_create, stream_destroy.
    """

    def __init__(self, preset="topics", **arguments):
        index = choice("preset", preset, PRESETS)
        fields = c.as_dict(c.stream_presets[index].config)
        for name in arguments:
            if name not in fields:
                raise Error(f"{name}: expected one of {', '.join(fields)}")
        fields.update(arguments)
        Shape(fields["num_heads"], fields["num_kv_heads"], fields["head_dim"]).check()
        config = c.stream_config(
            *(integer(name, fields[name], 1) for name in ("num_heads", "num_kv_heads", "head_dim")),
            integer("num_topics", fields["num_topics"], 1, c.STREAM_MAX_TOPICS),
            integer("dwell_tokens", fields["dwell_tokens"]), number("rho", fields["rho"], 0, 1),
            number("logit_scale", fields["logit_scale"], 0, MOST), number("focus", fields["focus"], 0, 1),
            number("value_noise", fields["value_noise"], 0, MOST), integer("seed", fields["seed"], 0, U64_MAX))
        stream = c.P(c.stream)()
        with lock:
            raise_tree(c.stream_create(byref(stream), byref(config)))
        self._handle = Handle(stream, c.stream_destroy)
        self._query, self._kv = (config.num_heads, config.head_dim), (config.num_kv_heads, config.head_dim)

    def next(self):
        """The next StreamToken. C: stream_next."""
        token = StreamToken(*(np.empty(shape, np.float32) for shape in (self._query, self._kv, self._kv)))
        self._call(c.stream_next, *map(pointer, token))
        return token

    __next__ = next

    def __iter__(self):
        return self

    @property
    def topic(self):
        """The topic of the last token. C: stream_topic."""
        return self._call(c.stream_topic)
