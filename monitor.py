#!/usr/bin/python3
"""vTap's monitor: arguments -> configuration -> session -> exit status."""

from __future__ import annotations

import signal
import sys
import traceback

from vtap.errors import VtapError
from vtap.options import parse_options


def main(arguments: list[str]) -> int:
    """Run the monitor and return its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a session waits for it, Ctrl-C just ends
    debug = "--debug" in arguments
    try:
        options = parse_options(arguments)
        from vtap.monitor import run  # noqa: PLC0415 - a mistyped option needs no compiler

        return run(options)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
