"""The command line: every option in every spelling, and one line for every mistake."""

from __future__ import annotations

import re
from typing import Any

import pytest

import vtap
from vtap.errors import ConfigError
from vtap.options import Options, make_parser, parse_options

DEFAULTS = Options(
    interfaces=(),
    interval_s=1.0,
    jitter_interval_s=1.0,
    server_port=8080,
    server_address="127.0.0.1",
    config="config.json",
    bits=False,
    test_throughput=False,
    test_jitter=False,
    direction="in",
    promiscuous=True,
    duration_s=None,
    format="text",
    log_dir=".",
    check=False,
    show_bpf=False,
    debug=False,
)


def changed(words: list[str]) -> dict[str, Any]:
    """Return the options that differ from the defaults."""
    given = vars(parse_options(words))
    return {name: value for name, value in given.items() if value != getattr(DEFAULTS, name)}


def problem_of(words: list[str]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_options(words)
    (problem,) = caught.value.problems
    assert problem.isprintable()
    return problem


def test_no_option_is_needed() -> None:
    """The defaults are those of the documentation."""
    assert parse_options([]) == DEFAULTS


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-i veth1", {"interfaces": ("veth1",)}),
        ("--interface veth1", {"interfaces": ("veth1",)}),
        ("--interface=veth1", {"interfaces": ("veth1",)}),
        ("-iveth1", {"interfaces": ("veth1",)}),
        ("-i a,b", {"interfaces": ("a", "b")}),
        ("-i a b", {"interfaces": ("a", "b")}),
        ("-i a -i b", {"interfaces": ("a", "b")}),
        ("-i a,b c --interface d,e", {"interfaces": ("a", "b", "c", "d", "e")}),
        ("-i b a b,a", {"interfaces": ("b", "a")}),
        ("-i ,a,,b,", {"interfaces": ("a", "b")}),
        ("-t 5", {"interval_s": 5.0}),
        ("-t5", {"interval_s": 5.0}),
        ("--interval 0.5", {"interval_s": 0.5}),
        ("-t 0.01", {"interval_s": 0.01}),
        ("-t 86400", {"interval_s": 86400.0}),
        ("-j 5", {"jitter_interval_s": 5.0}),
        ("--jitter-interval 1e1", {"jitter_interval_s": 10.0}),
        ("-server_port 9000", {"server_port": 9000}),
        ("-server_port=9000", {"server_port": 9000}),
        ("--server-port 0", {"server_port": 0}),
        ("--server-port 65535", {"server_port": 65535}),
        ("--server-address 0.0.0.0", {"server_address": "0.0.0.0"}),  # noqa: S104 - only read
        ("--server-address ::1", {"server_address": "::1"}),
        ("-conf a/b.json", {"config": "a/b.json"}),
        ("--config a/b.json", {"config": "a/b.json"}),
        ("-b", {"bits": True}),
        ("--bits", {"bits": True}),
        ("-test_throughput", {"test_throughput": True}),
        ("-test_jitter", {"test_jitter": True}),
        ("-test_throughput -test_jitter", {"test_throughput": True, "test_jitter": True}),
        ("--direction out", {"direction": "out"}),
        ("--direction both", {"direction": "both"}),
        ("--no-promiscuous", {"promiscuous": False}),
        ("--duration 60", {"duration_s": 60.0}),
        ("--format json", {"format": "json"}),
        ("--log-dir /var/log", {"log_dir": "/var/log"}),
        ("--check", {"check": True}),
        ("--show-bpf", {"show_bpf": True}),
        ("--debug", {"debug": True}),
        ("-bi a", {"bits": True, "interfaces": ("a",)}),
        ("-bt5", {"bits": True, "interval_s": 5.0}),
    ],
)
def test_an_option_in_each_spelling(words: str, expected: dict[str, Any]) -> None:
    """It sets its own value and no other."""
    assert changed(words.split()) == expected


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-t", "0"], "argument -t/--interval: 0 is not in 0.01..86400 seconds"),
        (["-t", "0.009"], "argument -t/--interval: 0.009 is not in 0.01..86400 seconds"),
        (["-t", "-1"], "argument -t/--interval: -1 is not in 0.01..86400 seconds"),
        (["-t", "nan"], "argument -t/--interval: nan is not in 0.01..86400 seconds"),
        (["-t", "inf"], "argument -t/--interval: inf is not in 0.01..86400 seconds"),
        (["-t", "ABC"], "argument -t/--interval: ABC is not in 0.01..86400 seconds"),
        (["-t", "1\n2"], "argument -t/--interval: 1\\n2 is not in 0.01..86400 seconds"),
        (["-j", ""], "argument -j/--jitter-interval: '' is not in 0.01..86400 seconds"),
        (["--duration", "86401"], "argument --duration: 86401 is not in 0.01..86400 seconds"),
        (["-t"], "argument -t/--interval: expected one argument"),
        (["-i"], "argument -i/--interface: expected at least one argument"),
        (["-i", ""], "argument -i/--interface: '' names no interface"),
        (["-i", " , "], "argument -i/--interface: ' , ' names no interface"),
        (["-server_port", "65536"], "argument -server_port/--server-port: 65536 is not "
         "in 0-65535"),
        (["-server_port", "-1"], "argument -server_port/--server-port: -1 is not in 0-65535"),
        (["-server_port", "http"], "argument -server_port/--server-port: http is not in 0-65535"),
        (["-server_port", "\u0661"], "argument -server_port/--server-port: \u0661 is not "
         "in 0-65535"),
        (["--server-address", "localhost"], "argument --server-address: localhost is not "
         "an IP address"),
        (["--check=1"], "argument --check: ignored explicit argument '1'"),
        (["eth0"], "unexpected argument 'eth0', interfaces follow -i"),
        (["-x"], "unknown option -x"),
        (["--zzz\x1b[2J"], "unknown option --zzz\\x1b[2J"),
        (["--bit"], "unknown option --bit, did you mean --bits?"),
        (["--durationn", "5"], "unknown option --durationn, did you mean --duration?"),
        (["--intervall=5"], "unknown option --intervall, did you mean --interval?"),
        (["-test_throughpu"], "unknown option -test_throughpu, did you mean -test_throughput?"),
        (["-test_jiter"], "unknown option -test_jiter, did you mean -test_jitter?"),
        (["-server_por", "1"], "unknown option -server_por, did you mean -server_port?"),
        (["-con", "x"], "unknown option -con, did you mean -conf?"),
        (["-server-port", "1"], "unknown option -server-port, did you mean --server-port?"),
        (["-interface", "eth0"], "unknown option -interface, did you mean --interface?"),
        (["-bits"], "unknown option -bits, did you mean --bits?"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_in_one_line(words: list[str], problem: str) -> None:
    """What is wrong, as it was typed, and what to do."""
    assert problem_of(words) == f"monitor.py: {problem}; see monitor.py --help"


@pytest.mark.parametrize(
    ("words", "choices"), [("--format xml", "text json"), ("--direction up", "in out both")]
)
def test_an_unknown_choice_is_answered_with_the_known_ones(words: str, choices: str) -> None:
    """Python's versions differ in how they quote them."""
    option, value = words.split()
    start, end = problem_of([option, value]).replace("'", "").split(" (choose from ")

    assert start == f"monitor.py: argument {option}: invalid choice: {value}"
    assert end == f"{', '.join(choices.split())}); see monitor.py --help"


@pytest.mark.parametrize("option", ["-test_throughput", "-test_jitter"])
def test_test_blocks_are_text(option: str) -> None:
    """They have no form in JSON."""
    assert problem_of(["--format", "json", option]) == (
        "monitor.py: -test_throughput and -test_jitter print text, not JSON"
    )


def test_another_script_may_use_the_parser_under_its_own_name() -> None:
    """Messages start with the script that was called."""
    with pytest.raises(ConfigError, match=r"^controller\.py start: unknown option -x; see "):
        parse_options(["-x"], "controller.py start")


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """All spellings of the documentation, and the exit statuses."""
    with pytest.raises(SystemExit) as caught:
        parse_options(["-h"])
    text = capsys.readouterr().out

    assert caught.value.code == 0
    listed = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text))
    assert listed >= {
        "-i", "--interface", "-t", "--interval", "-j", "--jitter-interval", "-server_port",
        "--server-port", "-conf", "--config", "-b", "--bits", "-test_throughput", "-test_jitter",
        "--server-address", "--direction", "--no-promiscuous", "--duration", "--format",
        "--log-dir", "--check", "--show-bpf", "--debug", "--version", "--help",
    }  # fmt: skip
    assert "exit status: 0 done, 2 bad option or configuration" in " ".join(text.split())


def test_every_option_has_a_help_text() -> None:
    """Nothing is left to guess."""
    assert all(action.help for action in make_parser("monitor.py")._actions)


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """One place says which version this is."""
    with pytest.raises(SystemExit) as caught:
        parse_options(["--version"])

    assert (caught.value.code, capsys.readouterr().out) == (0, f"vTap {vtap.__version__}\n")
