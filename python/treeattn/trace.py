"""Recorded searches as text: reference/workloads/trace.h."""

import os
from ctypes import byref

from . import c, checks
from .checks import describe, integer, text
from .errors import Error, raise_kv
from .handle import Handle, Owner, lock
from .memory import copied


class _Part:
    """A tree, draft or record of a Trace, whose fields are attributes; arrays are copies."""

    def __init__(self, trace, pointer, arrays):
        struct = pointer.contents
        self._trace, self._address = trace, pointer
        for name, *_ in struct._fields_:
            value = getattr(struct, name)
            if name in arrays:
                value = copied(value, getattr(struct, arrays[name]))
            setattr(self, name, value.decode() if isinstance(value, bytes) else value)

    def _pointer_for(self, name):
        if self._trace.closed:
            raise Error(f"{name}: the Trace that it belongs to is closed")
        return self._address


class TraceTree(_Part):
    """A search tree: source, ordinal (-1: not finished), last_iteration, num_nodes, num_leaves, num_tokens,
    path_tokens; nodes, a record array: parent (ta.NONE: the root), num_tokens, start, end: a query at iterations start
    .. end."""

    def __init__(self, trace, pointer):
        super().__init__(trace, pointer, {"nodes": "num_nodes"})

    def __repr__(self):
        return f"TraceTree(ordinal={self.ordinal}, num_nodes={self.num_nodes}, num_tokens={self.num_tokens})"


class TraceDraft(_Part):
    """The draft tokens of one speculative step: index, label, num_nodes, num_leaves, depth, num_pairs; parent and rank
    [num_nodes]."""

    def __init__(self, trace, pointer):
        super().__init__(trace, pointer, {"parent": "num_nodes", "rank": "num_nodes"})

    def __repr__(self):
        return f"TraceDraft(label={self.label}, num_nodes={self.num_nodes}, depth={self.depth})"


class TraceAccept(_Part):
    """Accepted lengths of speculative decoding: name, prompt_tokens, exact, num_steps, num_recorded, num_tokens;
    accepted [num_steps]."""

    def __init__(self, trace, pointer):
        super().__init__(trace, pointer, {"accepted": "num_steps"})

    def __repr__(self):
        return f"TraceAccept(name={self.name!r}, num_steps={self.num_steps}, num_tokens={self.num_tokens})"


class Trace(Owner):
    """A file of `ttr` version 1: kind ("reason", "draft" or "accept"), name, and the lists trees, drafts and accepts,
    two of which are empty. Trace.read and Trace.read_file make one. C: trace_destroy."""

    def __init__(self):
        raise Error("Trace: expected Trace.read(text) or Trace.read_file(path)")

    @classmethod
    def read(cls, content, file="text"):
        """A Trace from str or bytes; `file` is only for messages.

        Error: KV_FORMAT with line and column, KV_RANGE (beyond 64 MiB). C: trace_read.
        """
        content = checks.content("content", content)
        return cls._read(c.trace_read, content, len(content), text("file", file))

    @classmethod
    def read_file(cls, path):
        """A Trace from a file. Error: as read, and KV_INVAL if it cannot be read. C: trace_read_file."""
        try:
            path = os.fsencode(path)
        except (TypeError, UnicodeEncodeError):
            raise Error(f"path: expected a path, got {describe(path)}") from None
        if b"\0" in path:
            raise Error(f"path: expected a path without a 0 character, got {describe(path)}")
        return cls._read(c.trace_read_file, path)

    @classmethod
    def _read(cls, function, *arguments):
        trace, error = c.P(c.trace)(), c.trace_error()
        with lock:
            status = function(byref(trace), *arguments, byref(error))
        where = f"{(error.file or b'').decode(errors='replace')}:" + \
            (f"{error.line}:{error.column}:" if error.line else "")
        raise_kv(status, f"{where} {error.message.decode(errors='replace')}" if error.message else "")
        self = cls.__new__(cls)
        self._handle = Handle(trace, c.trace_destroy)
        content = trace.contents
        self.kind, self.name = c.TRACE_KINDS[content.kind], content.name.decode()
        self.trees = [TraceTree(self, c.P(c.trace_tree)(content.trees[i])) for i in range(content.num_trees)]
        self.drafts = [TraceDraft(self, c.P(c.trace_draft)(content.drafts[i])) for i in range(content.num_drafts)]
        self.accepts = [TraceAccept(self, c.P(c.trace_accept)(content.accepts[i])) for i in range(content.num_accepts)]
        return self

    def _found(self, kind, pointer):
        return kind(self, pointer) if pointer else None

    def find(self, ordinal):
        """The first TraceTree with this ordinal; None if there is none. C: trace_find."""
        ordinal = integer("ordinal", ordinal, -2**31, 2**31 - 1)
        with lock:
            return self._found(TraceTree, self._call(c.trace_find, ordinal))

    def find_draft(self, label):
        """The first TraceDraft with this label; None if there is none. C: trace_find_draft."""
        with lock:
            return self._found(TraceDraft, self._call(c.trace_find_draft, integer("label", label)))

    def find_accept(self, name):
        """The first TraceAccept with this name; None if there is none. C: trace_find_accept."""
        with lock:
            return self._found(TraceAccept, self._call(c.trace_find_accept, text("name", name)))

    def __repr__(self):
        return f"Trace({self.kind} {self.name!r})"
