"""Completion in the shell: argcomplete reads the parsers, here is what it cannot know."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import argcomplete

from vtap.instances import Instances, known_folders

if TYPE_CHECKING:
    import argparse


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks by environment variables, and exit."""
    _give_completers(parser)
    argcomplete.autocomplete(parser, always_complete_options="long")


def _give_completers(parser: argparse.ArgumentParser) -> None:
    completers = {
        "interfaces": _complete_interface,
        "numbers": _complete_number,
        "number": _complete_number,
        "config": argcomplete.completers.FilesCompleter(("json",)),
        "log_dir": argcomplete.completers.DirectoriesCompleter(),
    }
    for action in parser._actions:  # noqa: SLF001 - argparse shows them in no other way
        if action.dest in completers:
            action.completer = completers[action.dest]  # type: ignore[attr-defined]
        if action.dest == "verb" and action.choices:
            for verb in action.choices.values():  # type: ignore[attr-defined]
                _give_completers(verb)


def _complete_interface(**_: Any) -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _complete_number(**_: Any) -> list[str]:
    running = [
        record
        for folder in known_folders(os.environ, os.geteuid())
        for record in Instances(folder).find_running()
    ]
    return [str(number) for one in running for number in (one.pid, one.port) if number]
