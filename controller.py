#!/usr/bin/python3
# PYTHON_ARGCOMPLETE_OK
"""vTap's controller: starts, stops and shows instances of the monitor."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from vtap.command import run_command
from vtap.options import Options, make_options
from vtap.verbs import make_parser

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Do what the verb asks for and return the exit status."""
    return run_command(_work, arguments)


def _work(arguments: Sequence[str]) -> int:
    parser = make_parser()
    if "_ARGCOMPLETE" in os.environ:
        from vtap.completion import complete  # noqa: PLC0415 - only where a shell asks

        complete(parser)
    values = vars(parser.parse_args(arguments))
    return _do(values.pop("verb"), values, arguments[1:])


def _do(verb: str, values: dict[str, Any], arguments: Sequence[str]) -> int:
    from vtap import controller  # noqa: PLC0415 - a mistyped option needs nothing of it

    if verb == "start":
        detached = values.pop("detached")
        options = make_options(values, "controller.py start")
        return controller.start(options, arguments, detached=detached)
    if verb == "stop":
        return controller.stop(values["numbers"])
    if verb == "status":
        return controller.show_status(as_json=values["json"])
    if verb == "logs":
        return controller.show_log(values["number"], follow=values["follow"])
    return controller.restart(values["number"], _read_start_options)


def _read_start_options(arguments: Sequence[str]) -> Options:
    values = vars(make_parser().parse_args(["start", *arguments]))
    del values["verb"], values["detached"]
    return make_options(values, "controller.py start")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
