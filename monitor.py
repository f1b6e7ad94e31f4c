#!/usr/bin/python3
# PYTHON_ARGCOMPLETE_OK
"""vTap's monitor: arguments -> configuration -> session -> exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from vtap.command import run_command
from vtap.options import make_parser, parse_options

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the monitor and return its exit status."""
    return run_command(_work, arguments)


def _work(arguments: Sequence[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        from vtap.completion import complete  # noqa: PLC0415 - only where a shell asks

        complete(make_parser())
    options = parse_options(arguments)
    from vtap.enlist import Launch  # noqa: PLC0415 - a mistyped option needs no compiler
    from vtap.monitor import run  # noqa: PLC0415

    return run(options, Launch(tuple(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
