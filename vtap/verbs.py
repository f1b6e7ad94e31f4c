"""Arguments of controller.py: its verbs, and after start the options of a monitor."""

from __future__ import annotations

import argparse

import vtap
from vtap.options import MAX_PORT, Parser, add_options

_MAX_PID = 1 << 22
"""PID_MAX_LIMIT of linux/threads.h."""


def make_parser() -> Parser:
    """Return the parser; the values it reads have the verb's name as `verb`."""
    parser = Parser(
        prog="controller.py",
        description="Start, stop and watch instances of the monitor.",
        epilog="exit status: 0 done, 2 bad option or configuration, 3 cannot compile, load, attach "
        "or signal, 4 port busy or no such instance, 1 anything else. "
        "environment: VTAP_STATE_DIR names the folder of records, else /run/vtap for root and "
        "$XDG_RUNTIME_DIR/vtap for others",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vTap {vtap.__version__}")
    verbs = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, title="verbs", parser_class=Parser
    )
    start = verbs.add_parser(
        "start", allow_abbrev=False, help="start an instance",
        description="Start an instance of the monitor, on a port of its own.",
    )  # fmt: skip
    start.add_argument(
        "--detached", action="store_true",
        help="return once it measures, and leave it running without a terminal",
    )  # fmt: skip
    add_options(start, default_port=None)
    for name, text in (
        ("stop", "stop instances, all unless some are named"),
        ("status", "show the instances that run"),
        ("logs", "print the messages of a detached instance"),
        ("restart", "stop an instance and start it detached with the same options"),
    ):
        verb = verbs.add_parser(
            name, allow_abbrev=False, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        _ADDERS[name](verb)
    return parser


def _add_stop(parser: Parser) -> None:
    parser.add_argument(
        "numbers", metavar="PID|PORT", nargs="*", type=_number,
        help="an instance, by its pid or its port",
    )  # fmt: skip
    _add_debug(parser)


def _add_status(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects")
    _add_debug(parser)


def _add_logs(parser: Parser) -> None:
    _add_one(parser)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="print what comes until the instance ends"
    )
    _add_debug(parser)


def _add_restart(parser: Parser) -> None:
    _add_one(parser)
    _add_debug(parser)


_ADDERS = {
    "stop": _add_stop,
    "status": _add_status,
    "logs": _add_logs,
    "restart": _add_restart,
}


def _add_one(parser: Parser) -> None:
    parser.add_argument(
        "number", metavar="PID|PORT", type=_number, help="an instance, by its pid or its port"
    )


def _add_debug(parser: Parser) -> None:
    parser.add_argument(
        "--debug", action="store_true", help="show a traceback when something unforeseen fails"
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= max(_MAX_PID, MAX_PORT):
        message = f"{text} is neither a pid nor a port"
        raise argparse.ArgumentTypeError(message)
    return int(text)
