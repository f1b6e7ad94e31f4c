"""Arguments of monitor.py -> frozen Options; knows their spelling, not what they lead to."""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import vtap
from vtap.errors import ConfigError, show

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_INTERVAL_S = 0.01
MAX_INTERVAL_S = 86400.0
MAX_PORT = 65535
DEFAULT_PORT = 8080


@dataclass(frozen=True)
class Options:
    """What the command line asks for; times in seconds, no server_port: the first free one."""

    interfaces: tuple[str, ...]
    interval_s: float
    jitter_interval_s: float
    server_port: int | None
    server_address: str
    config: str
    bits: bool
    test_throughput: bool
    test_jitter: bool
    direction: str
    promiscuous: bool
    duration_s: float | None
    format: str
    log_dir: str
    check: bool
    show_bpf: bool
    debug: bool


class Parser(argparse.ArgumentParser):
    """Raises ConfigError instead of exiting, with a cure for a mistyped option."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Complain here, so that a subcommand's unknown option is cured with its own options."""
        values, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return values, unknown

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            message = self._explain_unknown(unknown.group(1))
        raise ConfigError([f"{self.prog}: {show(message)}; see {self.prog} --help"])

    def _explain_unknown(self, word: str) -> str:
        if not word.startswith("-"):
            cure = ", interfaces follow -i" if "-i" in self._option_string_actions else ""
            return f"unexpected argument '{word}'{cure}"
        option = word.split("=")[0]
        close = difflib.get_close_matches(option, self._option_string_actions, 1)
        return f"unknown option {option}" + (f", did you mean {close[0]}?" if close else "")

    def _get_option_tuples(self, option_string: str) -> list[tuple[argparse.Action, str, Any]]:
        """Find the one-letter option that a word like -t5 starts with.

        argparse's own also takes -con for -conf, whatever allow_abbrev says, and -test_jiter for
        -t est_jiter; such words are unknown options.
        """
        long = [option for option in self._option_string_actions if len(option) > len("-t")]
        if difflib.get_close_matches(option_string, long, 1, cutoff=0.7):
            return []
        candidates = super()._get_option_tuples(option_string)
        return [found for found in candidates if option_string.startswith(found[1])]


def _interfaces(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        message = f"'{text}' names no interface"
        raise argparse.ArgumentTypeError(message)
    return names


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        shown = text or "''"
        message = f"{shown} is not in {MIN_INTERVAL_S:g}..{MAX_INTERVAL_S:g} seconds"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_PORT:
        shown = text or "''"
        message = f"{shown} is not in 0-{MAX_PORT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        message = f"{text} is not an IP address"
        raise argparse.ArgumentTypeError(message) from None


def make_parser(program: str = "monitor.py") -> Parser:
    """Return the parser; program is the name that its messages start with."""
    parser = Parser(
        prog=program,
        description="Measure throughput, goodput, jitter and sequence errors in the kernel.",
        epilog="exit status: 0 done, 2 bad option or configuration, 3 cannot compile, load or "
        "attach, 4 port busy, 1 anything else",
        allow_abbrev=False,
    )
    add_options(parser)
    parser.add_argument("--version", action="version", version=f"vTap {vtap.__version__}")
    return parser


def add_options(parser: Parser, *, default_port: int | None = DEFAULT_PORT) -> None:
    """Give a parser the options of a monitor; without default_port the first free one is taken."""
    add = parser.add_argument
    port = f"the first free one from {DEFAULT_PORT}" if default_port is None else f"{default_port}"
    add(
        "-i", "--interface", dest="interfaces", metavar="IFACE", nargs="+", type=_interfaces,
        action="append", default=[],
        help="interfaces to monitor, separated by blanks or commas (default: all that are up)",
    )  # fmt: skip
    add(
        "-t", "--interval", dest="interval_s", metavar="SECONDS", type=_seconds, default=1.0,
        help="time over which throughput and goodput are measured (default: 1)",
    )  # fmt: skip
    add(
        "-j", "--jitter-interval", dest="jitter_interval_s", metavar="SECONDS", type=_seconds,
        default=1.0, help="time over which jitter is measured (default: 1)",
    )  # fmt: skip
    add(
        "-server_port", "--server-port", dest="server_port", metavar="PORT", type=_port,
        default=default_port,
        help=f"port of the Prometheus endpoint, 0: any that is free (default: {port})",
    )  # fmt: skip
    add(
        "--server-address", metavar="ADDRESS", type=_address, default="127.0.0.1",
        help="address of the Prometheus endpoint (default: 127.0.0.1)",
    )  # fmt: skip
    add(
        "-conf", "--config", dest="config", metavar="PATH", default="config.json",
        help="JSON configuration (default: config.json)",
    )  # fmt: skip
    add("-b", "--bits", action="store_true", help="show rates in bits per second, not bytes")
    add(
        "-test_throughput", dest="test_throughput", action="store_true",
        help="print only the throughput block, for scripts that read a pipe",
    )  # fmt: skip
    add(
        "-test_jitter", dest="test_jitter", action="store_true",
        help="print only the jitter block, for scripts that read a pipe",
    )  # fmt: skip
    add(
        "--direction", choices=("in", "out", "both"), default="in",
        help="count frames received, sent, or both (default: in)",
    )  # fmt: skip
    add(
        "--no-promiscuous", dest="promiscuous", action="store_false",
        help="do not put the interfaces in promiscuous mode",
    )  # fmt: skip
    add(
        "--duration", dest="duration_s", metavar="SECONDS", type=_seconds,
        help="stop after this time (default: run until Ctrl-C or SIGTERM)",
    )  # fmt: skip
    add(
        "--format", choices=("text", "json"), default="text",
        help="what the console prints (default: text)",
    )  # fmt: skip
    add(
        "--log-dir", metavar="PATH", default=".",
        help="folder of the log file that LOG_DATA asks for (default: the current one)",
    )  # fmt: skip
    add("--check", action="store_true", help="validate, compile, load, and leave")
    add("--show-bpf", action="store_true", help="print the C as it is compiled, and leave")
    add("--debug", action="store_true", help="show a traceback when something unforeseen fails")


def parse_options(arguments: Sequence[str], program: str = "monitor.py") -> Options:
    """Read the command line; ConfigError says what is wrong with it."""
    return make_options(vars(make_parser(program).parse_args(arguments)), program)


def make_options(values: dict[str, Any], program: str) -> Options:
    """Return the options that a parser read; program is the name that messages start with."""
    names = [name for words in values.pop("interfaces") for word in words for name in word]
    if values["format"] == "json" and (values["test_throughput"] or values["test_jitter"]):
        raise ConfigError([f"{program}: -test_throughput and -test_jitter print text, not JSON"])
    return Options(interfaces=tuple(dict.fromkeys(names)), **values)
