"""One process at a time in a folder: two that write the same files would spoil them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(file: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock by this file as long as the context lasts; a process that is killed lets go of it.

    With `wait` it is waited for. Gives whether it is held: without `wait` it may be another's. On a
    system without such locks it is always given.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
