"""Run monitor.py as a user does: the real command, in a namespace, its two outputs in files.

Stands on netns.py; knows the command's words and outputs, nothing of vtap's inside.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import signal
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.netns import Namespace

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = ("/usr/bin/python3", str(REPOSITORY / "monitor.py"))

# The environment of a login shell: what the tests' own Python was started with must not help.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
}

START_S = 30  # starting takes 0.5 s; the rest is for other people's load on the machine
END_S = 30

# Everything is measured, and UDP and ICMP carry a number 4 bytes into their payload.
CONFIG: Mapping[str, Any] = {
    "RULES": [],
    "DISPLAY": {"Throughput": True, "Goodput": True, "Jitter": True, "SEQ_ERRORS": True},
    "PATTERN": "0xFFFFFFFF",
    "OFFSET": 4,
    "SEQUENCE_THRESHOLD": 2,
    "MONITOR_SERVER": False,
    "LOG_DATA": False,
}

Samples = dict[str, float]


class Outcome(NamedTuple):
    """What a run left behind."""

    status: int
    stdout: str
    stderr: str

    def rows(self, **members: str) -> list[dict[str, Any]]:
        """Return the JSON lines that have these members, in order."""
        return json_rows(self.stdout, **members)

    def total(self, protocol: str, **members: str) -> dict[str, Any]:
        """Return the last JSON line of a protocol."""
        return self.rows(protocol=protocol, **members)[-1]

    def counts(self, protocol: str, **members: str) -> tuple[int, int, int]:
        """Return packets, bytes and payload bytes of a whole run."""
        row = self.total(protocol, **members)
        return row["packets_total"], row["bytes_total"], row["payload_bytes_total"]


def json_rows(text: str, **members: str) -> list[dict[str, Any]]:
    """Parse the JSON lines that are whole and have these members."""
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [row for row in rows if members.items() <= row.items()]


def write_config(folder: Path, changes: Mapping[str, Any]) -> Path:
    """Write CONFIG with other values for some keys; a mapping changes the object's members."""
    config = copy.deepcopy(dict(CONFIG))
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


class Monitor:
    """One running monitor.py; made by run_monitor()."""

    def __init__(self, process: subprocess.Popen[str], namespace: Namespace, folder: Path) -> None:
        """Watch a process that writes folder/stdout and folder/stderr."""
        self.process = process
        self.pid = process.pid
        self._namespace = namespace
        self._folder = folder

    @property
    def stdout(self) -> str:
        """What it has printed up to now."""
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """What it has said up to now."""
        return (self._folder / "stderr").read_text()

    def rows(self, **members: str) -> list[dict[str, Any]]:
        """Return the JSON lines that it has printed and that have these members."""
        return json_rows(self.stdout, **members)

    def wait_for_message(self, words: str, *, times: int = 1, timeout_s: float = START_S) -> None:
        """Wait until it has said these words so many times, or fail when it has ended."""
        wait_until(
            lambda: self.stderr.count(words) >= times or self.process.poll() is not None,
            timeout_s,
            f"{words!r} on standard error",
            seen=lambda: self.stderr,
        )
        assert self.stderr.count(words) >= times, self.stderr

    def wait_for_packets(self, count: int, **members: str) -> None:
        """Wait until the JSON lines tell of so many packets since the start."""

        def newest() -> dict[tuple[str, str], int]:
            rows = self.rows(**members)
            return {(row["interface"], row["protocol"]): row["packets_total"] for row in rows}

        wait_until(lambda: sum(newest().values()) >= count, START_S, f"{count}", seen=newest)

    def wait_for_rows(self, count: int, **members: str) -> None:
        """Wait until it has printed so many JSON lines with these members."""
        wait_until(
            lambda: len(self.rows(**members)) >= count,
            START_S,
            f"{count} lines of {members}",
            seen=lambda: self.stdout,
        )

    @property
    def port(self) -> int:
        """The endpoint's port, from the start line."""
        found = re.search(r"metrics at http://[^ ]+:(\d+)/metrics", self.stderr)
        assert found, self.stderr
        return int(found[1])

    def scrape(self) -> Samples:
        """Fetch the endpoint's samples, by their text before the value."""

        def fetch() -> str:
            with contextlib.closing(
                HTTPConnection("127.0.0.1", self.port, timeout=END_S)
            ) as connection:
                connection.request("GET", "/metrics")
                return connection.getresponse().read().decode()

        return parse_samples(self._namespace.call(fetch))

    def wait_for_sample(self, name: str, value: float) -> Samples:
        """Scrape until a sample has this value."""
        scrapes: list[Samples] = []

        def is_reached() -> bool:
            scrapes[:] = [self.scrape()]
            return scrapes[0].get(name) == value

        wait_until(is_reached, START_S, f"{name} {value}", seen=lambda: scrapes)
        return scrapes[0]

    def end(self, number: int = signal.SIGINT) -> Outcome:
        """Let what was sent arrive, send a signal and wait."""
        wait_until(_is_delivered, END_S, "empty receive queues")
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> Outcome:
        """Wait until it has ended by itself."""
        status = self.process.wait(END_S)
        return Outcome(status, self.stdout, self.stderr)


def _is_delivered() -> bool:
    """Tell whether the CPUs' queues of received frames are empty: a busy machine leaves them to
    ksoftirqd, for after the sender's system call.
    """
    rows = Path("/proc/net/softnet_stat").read_text().splitlines()
    return all(int(row.split()[10], 16) == 0 for row in rows)  # net/core/net-procfs.c: backlog


def parse_samples(text: str) -> Samples:
    """Parse Prometheus' text format; labels stay part of the name."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@contextlib.contextmanager
def run_monitor(
    namespace: Namespace,
    folder: Path,
    *options: str,
    config: Mapping[str, Any] | None = None,
    stdout: Path | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Monitor]:
    """Start monitor.py in the namespace, in `folder`, and wait for its start line.

    `config` changes CONFIG, `prefix` stands before the command. Yields when it measures; ends it by
    SIGKILL if the test has not.
    """
    write_config(folder, config or {})
    with (stdout or folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        process = namespace.popen(
            [*prefix, *COMMAND, "-server_port", "0", *options],
            stdout=out,
            stderr=err,
            env=ENVIRONMENT,
            cwd=folder,
        )
    monitor = Monitor(process, namespace, folder)
    try:
        monitor.wait_for_message("measuring on ")
        yield monitor
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def call_monitor(
    folder: Path,
    *options: str,
    namespace: Namespace | None = None,
    config: Mapping[str, Any] | None = None,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run monitor.py to its end: what is refused, or only checks. `prefix` stands before it."""
    if config is not None:
        write_config(folder, config)
    inside = ["ip", "netns", "exec", namespace.name] if namespace else []
    done = subprocess.run(
        [*inside, *prefix, *COMMAND, *options],
        check=False,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **(environment or {})},
        cwd=folder,
        timeout=END_S,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def time_first_packet(namespace: Namespace, folder: Path, ifname: str) -> float:
    """Return the seconds from the command to its first counted packet; frames must be arriving."""
    began_s = time.monotonic()
    with run_monitor(namespace, folder, "-i", ifname, "-t", "0.01", "--format", "json") as monitor:
        wait_until(
            lambda: any(row["packets"] for row in monitor.rows()), START_S, "a counted packet"
        )
        seconds = time.monotonic() - began_s
        monitor.end()
    return seconds
