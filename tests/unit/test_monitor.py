"""monitor.py as a command: exit statuses, one line a problem, nothing attached before all is good.

Nothing here needs a privilege; where root runs the tests, capabilities are given away first.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import monitor
import vtap.monitor
from tests.support.samples import make_report, make_sample
from vtap import privileges
from vtap.codegen import generate_source
from vtap.config import Config
from vtap.errors import PrivilegeError
from vtap.privileges import require_capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vtap.reports import Report
    from vtap.samples import Sample

ROOT = Path(__file__).resolve().parents[2]
# The processes below are root without a capability where root runs the tests.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
NO_CAPABILITIES = "CAP_BPF CAP_PERFMON CAP_NET_RAW"
TIMEOUT_S = 60


def run_monitor(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*UNPRIVILEGED, sys.executable, str(ROOT / "monitor.py"), *words],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def outcome(*words: str) -> tuple[int, str, str]:
    done = run_monitor(*words)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def sigint() -> Iterator[None]:
    """Have Ctrl-C interrupt the tests again after main() was called in this process."""
    kept = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, kept)


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """Provide the writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--show-bpf -i a >&-", 0, ""),
        ("--nonsense 2>&-", 2, ""),
        ("--nonsense <&- >&-", 2, "monitor.py: unknown option --nonsense"),
        ("--nonsense <&- >&- 2>&-", 2, ""),
    ],
)
def test_a_closed_stream_is_one_that_nobody_reads(words: str, status: int, said: str) -> None:
    """The exit status is what it always is, and messages are not where they do not belong."""
    command = shlex.join([sys.executable, str(ROOT / "monitor.py")])
    done = subprocess.run(
        ["sh", "-c", f"{command} {words}"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr[: len(said) or None]) == (status, "", said)


def test_a_bad_option_ends_with_2() -> None:
    """Standard output stays empty, standard error has one line."""
    assert outcome("--durationn", "5") == (
        2,
        "",
        "monitor.py: unknown option --durationn, did you mean --duration?; see monitor.py --help\n",
    )


def test_a_missing_configuration_ends_with_2() -> None:
    """The message says how another is named."""
    assert outcome("-conf", "nowhere.json") == (
        2,
        "",
        "cannot read configuration nowhere.json: no such file or directory; "
        "name a readable file with -conf\n",
    )


def test_a_bad_configuration_ends_with_2_and_all_its_problems(tmp_path: Path) -> None:
    """One line each, before anybody asks for privileges."""
    path = tmp_path / "c.json"
    path.write_text('{"RULES": ["- - - 70000 -"], "OFSET": 4}')

    assert outcome("-conf", str(path)) == (
        2,
        "",
        f"{path}: RULES[0]: destination port 70000 is not in 0-65535\n"
        f"{path}: unknown key 'OFSET', did you mean OFFSET?\n",
    )


@pytest.mark.parametrize(
    ("option", "key"), [("-test_throughput", "Throughput"), ("-test_jitter", "Jitter")]
)
def test_a_test_block_that_is_switched_off_ends_with_2(
    tmp_path: Path, option: str, key: str
) -> None:
    """A script would wait for its lines for ever."""
    path = tmp_path / "c.json"
    path.write_text('{"DISPLAY": {"' + key + '": "False"}}')

    assert outcome("-conf", str(path), option) == (
        2,
        "",
        f"{path}: DISPLAY.{key}: is off, but {option} asks for it\n",
    )


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ([], NO_CAPABILITIES),
        (["--check"], "CAP_BPF CAP_PERFMON"),
    ],
)
def test_a_missing_privilege_ends_with_3(words: list[str], missing: str) -> None:
    """It names what is missing, and only what is needed."""
    assert outcome(*words) == (
        3,
        "",
        f"cannot load the program: {missing} missing; run as root, with sudo\n",
    )


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ((), NO_CAPABILITIES),
        ((privileges.CAP_BPF, privileges.CAP_PERFMON), "CAP_NET_RAW"),
        ((privileges.CAP_SYS_ADMIN,), "CAP_NET_RAW"),
        ((privileges.CAP_NET_RAW,), "CAP_BPF CAP_PERFMON"),
        ((privileges.CAP_BPF, privileges.CAP_NET_RAW), "CAP_PERFMON"),
    ],
)
def test_what_is_there_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, effective: Sequence[int], missing: str
) -> None:
    """CAP_SYS_ADMIN stands for the two that BPF has of its own."""
    monkeypatch.setattr(privileges, "_effective", lambda: sum(1 << bit for bit in effective))

    with pytest.raises(PrivilegeError) as caught:
        require_capabilities(attach=True)
    assert str(caught.value) == (
        f"cannot load the program: {missing} missing; run as root, with sudo"
    )


def test_all_that_is_needed_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three capabilities, without CAP_SYS_ADMIN."""
    needed = (privileges.CAP_BPF, privileges.CAP_PERFMON, privileges.CAP_NET_RAW)
    monkeypatch.setattr(privileges, "_effective", lambda: sum(1 << bit for bit in needed))

    require_capabilities(attach=True)


def test_show_bpf_prints_the_program_without_privileges() -> None:
    """What is printed is what would be compiled, for as many interfaces as are named."""
    assert outcome("--show-bpf", "-i", "a,b", "--direction", "both") == (
        0,
        generate_source(Config(), 2, "both"),
        "",
    )


def test_show_bpf_into_a_pipe_that_nobody_reads_is_quiet(closed_pipe: int) -> None:
    """As in `monitor.py --show-bpf | head`."""
    done = run_monitor("--show-bpf", "-i", "a", stdout=closed_pipe)

    assert (done.returncode, done.stderr) == (0, "")


def test_show_bpf_onto_a_full_disk_says_so() -> None:
    """One line, and a status that a script sees."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - no file, a device
        done = run_monitor("--show-bpf", "-i", "a", stdout=full.fileno())

    assert (done.returncode, done.stderr) == (
        1,
        "cannot write to standard output: no space left on device\n",
    )


def test_version_and_help_end_with_0() -> None:
    """They are no errors, and need neither privileges nor a configuration."""
    assert outcome("--version") == (0, f"vTap {vtap.__version__}\n", "")
    assert outcome("--help")[0] == 0


def test_debug_adds_the_traceback_and_keeps_the_status() -> None:
    """The message is still the last line."""
    status, _, said = outcome("--debug", "-conf", "nowhere.json")

    assert status == 2
    assert said.startswith("Traceback (most recent call last):\n")
    assert said.splitlines()[-1].startswith("cannot read configuration nowhere.json: ")


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize(("debug", "where"), [([], "--debug shows where"), (["--debug"], "see")])
def test_what_nobody_foresaw_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    debug: list[str],
    where: str,
) -> None:
    """One line; a traceback only under --debug."""

    def fail(*_: object) -> int:
        message = "oops"
        raise RuntimeError(message)

    monkeypatch.setattr(vtap.monitor, "run", fail)

    assert monitor.main(debug) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(f"unforeseen failure, {where}")
    assert said.endswith(": RuntimeError('oops')\n")
    assert ("Traceback" in said) is bool(debug)


@pytest.mark.usefixtures("sigint")
def test_an_interface_that_is_not_there_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known before anything is compiled."""
    monkeypatch.setattr(vtap.monitor, "require_capabilities", lambda **_: None)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo")])
    config = str(ROOT / "config.json")

    assert monitor.main(["-conf", config, "-i", "nowhere0,nowhere1"]) == 3
    assert capsys.readouterr().err == (
        "cannot attach to 'nowhere0': no such interface; there are lo\n"
        "cannot attach to 'nowhere1': no such interface; there are lo\n"
    )


@pytest.fixture
def before_compiling(monkeypatch: pytest.MonkeyPatch, sigint: None) -> Iterator[None]:
    """Have monitor.main() get as far as compiling, with all signals put back afterwards."""
    del sigint
    monkeypatch.setattr(vtap.monitor, "require_capabilities", lambda **_: None)
    monkeypatch.setattr(vtap.monitor, "choose_interfaces", lambda names: names)
    monkeypatch.setitem(sys.modules, "vtap.program", None)  # compiling would be an ImportError
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, kept)


@pytest.mark.usefixtures("before_compiling")
def test_a_port_that_is_taken_ends_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    """Known before anything is compiled, and by whom."""
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["-conf", str(ROOT / "config.json"), "-i", "x", "-server_port", str(port)]

        assert monitor.main(words) == 4
    assert capsys.readouterr().err == (
        f"cannot serve metrics on 127.0.0.1 port {port}: address already in use "
        f"by {name} (pid {os.getpid()}); choose another with -server_port or --server-address\n"
    )


@pytest.mark.usefixtures("before_compiling")
def test_a_log_that_cannot_be_written_is_known_before_compiling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says which option helps."""
    path = tmp_path / "c.json"
    path.write_text('{"LOG_DATA": "True", "MONITOR_SERVER": "False"}')
    folder = tmp_path / "nowhere"

    assert monitor.main(["-conf", str(path), "-i", "x", "--log-dir", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"cannot write log {folder}/monitor_{os.getpid()}_")
    assert said.endswith(".log: no such file or directory; name another folder with --log-dir\n")


class FailingConsole:
    """A console whose writes fail as told, one error or None after the other."""

    def __init__(self, *errors: OSError | None) -> None:
        self.errors = list(errors)
        self.closed = False

    def emit(self, _reports: Sequence[Report], _sample: Sample) -> None:
        error = self.errors.pop(0)
        if error:
            raise error

    def close(self) -> None:
        self.closed = True


def test_a_console_that_cannot_be_written_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Measuring goes on; it is said again only if it has worked in between."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    stop = threading.Event()
    console = FailingConsole(None, full, full, None, full, None)
    pipe = vtap.monitor._Pipe(console, stop)
    said = []
    for _ in range(6):
        pipe.emit([make_report()], make_sample())
        said.append(capsys.readouterr().err)
    pipe.close()

    line = "cannot write to the console: no space left on device; measuring goes on\n"
    assert said == ["", line, "", "", line, ""]
    assert not stop.is_set()
    assert console.closed


PIPE_SCRIPT = """
import sys, threading
from tests.support.samples import make_report, make_sample
from vtap.monitor import _Pipe
from vtap.outputs.jsonlines import JsonLines
stop = threading.Event()
pipe = _Pipe(JsonLines(sys.stdout), stop)
for _ in range(2):
    pipe.emit([make_report()], make_sample())
pipe.close()
sys.exit(23 if stop.is_set() else 1)
"""


def test_a_console_that_nobody_reads_any_more_ends_the_run(closed_pipe: int) -> None:
    """The run is told to stop, and nothing is said, at the interpreter's end neither."""
    done = subprocess.run(
        [sys.executable, "-c", PIPE_SCRIPT],
        cwd=ROOT,
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (23, "")


def test_a_full_disk_behind_the_console_is_said_once_and_costs_no_status() -> None:
    """What Python still holds for it is let go at the end."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - no file, a device
        done = subprocess.run(
            [sys.executable, "-c", PIPE_SCRIPT.replace("else 1", "else 24")],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    assert (done.returncode, done.stderr) == (
        24,
        "cannot write to the console: no space left on device; measuring goes on\n",
    )
