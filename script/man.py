"""Parsers -> man pages in docs/man: the same text whatever version of Python formats the help."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import vtap
from vtap import options, verbs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "man"
SECTION = 8


def main(arguments: list[str]) -> int:
    """Write a page for each script; with --check only name what would change, and return 1."""
    changed = [(FOLDER / name, text) for name, text in render_all().items()]
    changed = [pair for pair in changed if not pair[0].exists() or pair[0].read_text() != pair[1]]
    if arguments == ["--check"]:
        sys.stdout.writelines(f"{path} is not what the options say\n" for path, _ in changed)
        return int(bool(changed))
    FOLDER.mkdir(exist_ok=True)
    for path, text in changed:
        path.write_text(text, encoding="utf-8")
    return 0


def render_all() -> dict[str, str]:
    """Return the pages by the names of their files."""
    pages = {}
    for parser, other in (
        (options.make_parser(), "controller.py"),
        (verbs.make_parser(), "monitor.py"),
    ):
        lines = list(_render_page(parser, other))
        pages[f"{parser.prog}.{SECTION}"] = "\n".join(lines) + "\n"
    return pages


def _render_page(parser: argparse.ArgumentParser, other: str) -> Iterator[str]:
    description = parser.description or ""
    yield r".\" Written by script/docs from the options."
    yield f'.TH {_escape(parser.prog.upper())} {SECTION} "" "vTap {vtap.__version__}" "vTap"'
    yield ".ad l"
    yield from (".SH NAME", rf"{parser.prog} \- {description[0].lower()}{description[1:-1]}")
    children = _find_verbs(parser)
    yield ".SH SYNOPSIS"
    for child in children.values() or [parser]:
        yield from _render_synopsis(child)
    yield from (".SH DESCRIPTION", _escape(description), ".SH OPTIONS")
    yield from _render_options(parser)
    if children:
        yield ".SH VERBS"
    for child in children.values():
        yield from (f".SS {child.prog.split()[-1]}", _escape(child.description or ""))
        yield from _render_options(child)
    for section in (parser.epilog or "").split(". "):
        title, _, text = section.partition(": ")
        yield from (f".SH {title.upper()}", _escape(text))
    yield from (".SH SEE ALSO", rf".BR {other} ({SECTION})")


def _find_verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001 - argparse shows them in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - nor this
            return dict(action.choices)
    return {}


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        action
        for action in parser._actions  # noqa: SLF001 - argparse shows them in no other way
        if not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 - nor this
    ]


def _render_synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from (".HP", rf"\fB{_escape(parser.prog)}\fR")
    for action in _actions(parser):
        if action.dest not in ("help", "version"):
            first = action.option_strings[:1]
            yield _render_use(action, first, optional=bool(first) or action.nargs == "*")


def _render_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _actions(parser):
        yield ".TP"
        yield ", ".join(_render_use(action, [name]) for name in action.option_strings or [""])
        yield _escape(action.help or "")


def _render_use(action: argparse.Action, names: Sequence[str], *, optional: bool = False) -> str:
    """Return an option with its value, -t in bold and SECONDS in italics."""
    words = [rf"\fB{_escape(name)}\fR" for name in names if name]
    if action.nargs != 0:
        value = "|".join(action.choices) if action.choices else action.metavar or action.dest
        more = " ..." if action.nargs in ("+", "*") else ""
        words.append(rf"\fI{_escape(str(value))}\fR{more}")
    text = " ".join(words)
    return f"[{text}]" if optional else text


def _escape(text: str) -> str:
    """Keep roff from taking a character for its own."""
    text = text.replace("%%", "%").replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
