"""Ownership: memory of the library that lives as long as a Python object."""

import threading

from .errors import Error

# Held during each call: a pool has one writer, a plan must not grow while it is read, and nothing may be freed between
# the look at a pointer and its use. One lock for all objects, since a call may use several.
lock = threading.RLock()


class Handle:
    """A pointer from C, and the function that destroys it.

    needs: handles that the library uses through this one. They are destroyed after it, in whatever order Python closes
    or forgets the objects.
    """

    def __init__(self, pointer, destroy, *needs):
        self.pointer = pointer
        self.open = True
        self.users = 0  # handles that need this one
        self._destroy, self._needs = destroy, needs
        with lock:
            for handle in needs:
                handle.users += 1

    def release(self):
        """Destroys it, or leaves that to the last handle that needs it. A second call does nothing."""
        with lock:
            self.open = False
            self._destroy_unused()

    __del__ = release

    def _destroy_unused(self):
        if self.open or self.users or self.pointer is None:
            return
        pointer, self.pointer = self.pointer, None
        self._destroy(pointer)
        for handle in self._needs:
            handle.users -= 1
            handle._destroy_unused()


class Owner:
    """Base of the classes that own memory of the library: usable until close(), also in a with statement."""

    _handle = None
    lock = lock

    @property
    def _pointer(self):
        if self.closed:
            raise Error(f"the {type(self).__name__} is closed")
        return self._handle.pointer

    def _call(self, function, *arguments):
        """function(pointer, *arguments) of C."""
        with lock:
            return function(self._pointer, *arguments)

    def _field(self, name):
        """A field of the struct that the pointer points to."""
        with lock:
            return getattr(self._pointer.contents, name)

    @property
    def closed(self):
        """True after close()."""
        return self._handle is None or not self._handle.open

    def close(self):
        """Frees the memory in the library. A second call does nothing; any other use raises Error."""
        if self._handle is not None:
            self._handle.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
