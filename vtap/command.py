"""What both scripts do around their work: say what failed on standard error, and exit with it."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Callable

from vtap.errors import VtapError

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_command(work: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Do the work with the arguments; returns the exit status."""
    _open_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a session waits for it, Ctrl-C just ends
    debug = "--debug" in arguments
    try:
        return work(arguments)
    except VtapError as error:
        if debug:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return error.exit_status
    except Exception as error:  # noqa: BLE001 - the last resort: one line for the user
        where = "see above" if debug else "--debug shows where"
        if debug:
            traceback.print_exc()
        print(f"unforeseen failure, {where}: {error!r}", file=sys.stderr)
        return 1
    finally:
        _let_go_of_messages()


def _open_standard_streams() -> None:
    """Have what was started with a closed one (`>&-`) write to nobody, not to a later socket."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: its own
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8"))


def _let_go_of_messages() -> None:
    """Have a terminal that is gone not change the exit status, when Python flushes once more."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
