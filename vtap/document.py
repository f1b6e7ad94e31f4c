"""JSON text with comments and trailing commas -> values, each problem with its place.

Knows no key of any configuration: the caller says what an object's members may be.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any, Callable

from vtap.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_MESSAGE = 250
"""Characters of a message that repeats the file's text; the middle of a longer one is left out."""

_COMMENT_OR_STRING = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
# One with nothing before it is not trailing: [,] stays what it is, an error.
_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|[\[{]\s*,|,(?=\s*[\]}])', re.DOTALL)
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,16})")


class Pairs(list):  # type: ignore[type-arg]
    """The pairs of a JSON object in their order, so that a key given twice is seen."""


def read_json(text: str, path: str) -> Any:
    """Return the document's values, objects as Pairs; ConfigError names path and place."""
    try:
        return json.loads(_strip_comments(text), object_pairs_hook=Pairs)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise ConfigError([f"{path}: {place}: not JSON: {error.msg.lower()}"]) from None
    except (RecursionError, ValueError):
        raise ConfigError([f"{path}: not JSON: nested too deeply or a number too long"]) from None


def _strip_comments(text: str) -> str:
    """Blank out comments and trailing commas; every other character keeps its line and column."""

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        return found if found[0] in '"[{' else re.sub(r"[^\n]", " ", found)

    return _TRAILING_COMMA.sub(blank, _COMMENT_OR_STRING.sub(blank, text))


class ObjectParser:
    """Walks a JSON document, collecting every problem with its place.

    A parser of a member takes its JSON value and its place (`RULES[2]`). It appends to problems, or
    raises ValueError with one argument a problem, which is appended under that place.
    """

    def __init__(self) -> None:
        """Begin without problems."""
        self.problems: list[str] = []

    def parse_object(
        self, value: Any, place: str, parsers: Mapping[str, Callable[[Any, str], Any]]
    ) -> dict[str, Any]:
        """Parse an object's members by the parser of their key; left out where one failed."""
        prefix = f"{place}: " if place else ""
        if not isinstance(value, Pairs):
            self.problems.append(f"{prefix}{name_value(value)} instead of an object {{...}}")
            return {}
        parsed: dict[str, Any] = {}
        seen: set[str] = set()
        for key, member in value:
            member_place = f"{place}.{key}" if place else key
            if key not in parsers:
                self.problems.append(
                    f"{prefix}unknown key '{_printable(key)}', {_cure(key, parsers)}"
                )
            elif key in seen:
                self.problems.append(f"{member_place}: given twice, keep one")
            else:
                self.parse_member(parsed, key, member, member_place, parsers[key])
            seen.add(key)
        return parsed

    def parse_member(
        self,
        parsed: dict[str, Any],
        key: str,
        value: Any,
        place: str,
        parse: Callable[[Any, str], Any],
    ) -> None:
        """Put under a key what its parser makes of a value, or nothing, and its problems."""
        try:
            parsed[key] = parse(value, place)
        except ValueError as error:
            self.problems.extend(f"{place}: {_printable(problem)}" for problem in error.args)


def _printable(text: str) -> str:
    """Keep a message one line of ASCII that says why at its end, whatever stands in the file."""
    shown = text.encode("unicode_escape").decode("ascii")
    kept = MAX_MESSAGE // 2
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:kept]} ... {shown[-kept:]}"


def name_value(value: Any) -> str:
    """Name a JSON value in a message."""
    if isinstance(value, Pairs):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value)


def _cure(key: str, known: Iterable[str]) -> str:
    """Say what an unknown key may have meant."""
    by_upper = {name.upper(): name for name in known}
    close = difflib.get_close_matches(key.upper(), by_upper, 1)
    return f"did you mean {by_upper[close[0]]}?" if close else f"known are {', '.join(known)}"


def parse_bool(value: Any, _place: str) -> bool:
    """Return true or false, also as text; ValueError says why not."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    message = f'{name_value(value)} is not "True" or "False"'
    raise ValueError(message)


def parse_integer(value: Any, low: int, high: int) -> int:
    """Return a number of low..high, also as text, decimal or 0x...; ValueError says why not."""
    number = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        number = int(value, 16 if "x" in value.lower() else 10)
    if number is None:
        message = f"{name_value(value)} is not a whole number, decimal or 0x..."
        raise ValueError(message)
    if not low <= number <= high:
        message = f"{value} is not in {low}..{high}"
        raise ValueError(message)
    return number
