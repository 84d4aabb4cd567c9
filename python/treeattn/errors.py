"""Statuses of the library as exceptions."""

from . import c


class Error(ValueError):
    """An argument or a state that the library refuses. The message names what was expected and what came.

    status: the library's name for it, "KV_NOBLOCKS", "TREE_BAD_SHAPE", ...; None where Python refused before the call.
    """

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


def _raise(names, sentence, status, detail, reasons):
    if status == 0:
        return
    name = names[status]
    message = f"{reasons.get(name) or detail or sentence(status).decode()} ({name})"
    if name in ("KV_NOMEM", "TREE_NOMEM"):
        raise MemoryError(message)
    raise Error(message, name)


def raise_kv(status, detail="", **reasons):
    """Raises what a kv_status says, if it is not KV_OK. The message is reasons[its name], or detail, or the library's
    sentence."""
    _raise(c.KV_STATUSES, c.kv_status_string, status, detail, reasons)


def raise_tree(status, detail="", **reasons):
    """The same for a tree_status."""
    _raise(c.TREE_STATUSES, c.tree_status_string, status, detail, reasons)


def _status_string(names, sentence, status):
    numbers = {name: number for number, name in names.items()}
    if isinstance(status, str):
        if status not in numbers:
            raise Error(f"status: expected one of {', '.join(numbers)}, got {status!r}")
        status = numbers[status]
    elif isinstance(status, bool) or not isinstance(status, int) or status not in names:
        raise Error(f"status: expected a number from {min(names)} to 0 or a name, got {status!r}")
    return sentence(status).decode()


def kv_status_string(status):
    """The sentence for a status of the allocator, by number or name. C: kv_status_string."""
    return _status_string(c.KV_STATUSES, c.kv_status_string, status)


def tree_status_string(status):
    """The sentence for a status of plans and attention, by number or name. C: tree_status_string."""
    return _status_string(c.TREE_STATUSES, c.tree_status_string, status)
