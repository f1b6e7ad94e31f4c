"""A line on the terminal while something takes its time; nothing where standard error is none."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK_S = 0.2
_STDERR = 2
_CLEAR_LINE = "\r\x1b[K"


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show what is being done, and for how many seconds, until the context ends."""
    if not os.isatty(_STDERR):
        yield
        return
    # Its own descriptor: it stays the terminal, whatever standard error becomes meanwhile.
    terminal = os.dup(_STDERR)
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(terminal, what, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.close(terminal)


def _show(terminal: int, what: str, ended: threading.Event) -> None:
    began_s = time.monotonic()
    with suppress(OSError):  # the terminal may go, what is shown goes on
        while True:
            shown = f"{_CLEAR_LINE}{what} ... {time.monotonic() - began_s:.0f} s"
            os.write(terminal, shown.encode())
            if ended.wait(TICK_S):
                break
        os.write(terminal, _CLEAR_LINE.encode())
