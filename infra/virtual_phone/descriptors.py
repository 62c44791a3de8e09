"""Reading and writing pipes and terminals without blocking the loop, one descriptor at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


async def read_some(fd: int, limit: int) -> bytes:
    """Up to `limit` bytes of a non-blocking descriptor; empty at its end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, limit)
        except BlockingIOError:
            await _ready(fd, loop.add_reader, loop.remove_reader)
        except OSError:  # EIO: a terminal whose last program is gone
            return b""


async def write_all(fd: int, data: bytes) -> None:
    """Writes to a non-blocking descriptor, as fast as the other end reads. What nobody reads any more is dropped."""
    loop = asyncio.get_running_loop()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, loop.add_writer, loop.remove_writer)
        except OSError:  # EPIPE, or EIO of a terminal
            return


async def _ready(fd: int, watch: Callable[[int, Callable[[], None]], None], forget: Callable[[int], object]) -> None:
    event = asyncio.Event()
    watch(fd, event.set)
    try:
        await event.wait()
    finally:
        forget(fd)
