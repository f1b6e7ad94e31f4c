"""Records: true while their instance holds their lock, leftovers otherwise, replaced at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vtap import instances as module
from vtap.completion import _complete_number
from vtap.errors import PrivilegeError, VtapError
from vtap.instances import Instances, known_folders, own_folder
from vtap.records import Record, look_at, parse_record, render_record
from vtap.stopping import Found, stop_instances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]

# Registers itself as told, says so, and lives until it is killed or told to end.
INSTANCE = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from vtap.instances import Instances
from vtap.records import parse_record
folder, record, ignored = sys.argv[1:]
if ignored:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
instances = Instances(Path(folder))
with instances.locked():
    registration = instances.register(replace(parse_record(record), pid=os.getpid()))
print(flush=True)
for line in sys.stdin:
    with instances.locked():
        registration.write(replace(parse_record(record), pid=os.getpid(), port=int(line)))
    print(flush=True)
registration.close()
"""


LOCKER = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print(flush=True)
    sys.stdin.read()
"""


def make_record(pid: int = 4121, port: int | None = 8080, *, measuring: bool = True) -> Record:
    return Record(
        pid=pid,
        started="2026-11-22T20:00:00+00:00",
        address="127.0.0.1",
        port=port,
        interfaces=("eth0", "eth1"),
        config="/etc/vtap/edge.json",
        interval_s=1.0,
        arguments=("-i", "eth0,eth1"),
        folder="/",
        detached=True,
        measuring=measuring,
    )


@pytest.fixture
def instances(tmp_path: Path) -> Instances:
    """Provide the instances of a folder that does not exist yet."""
    return Instances(tmp_path / "state")


@pytest.fixture
def start(instances: Instances) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Provide a function that starts a process with a record; it is killed."""
    with contextlib.ExitStack() as stack:

        def start_one(record: Record, *, ignoring_sigterm: bool = False) -> subprocess.Popen[str]:
            ignored = "ignored" if ignoring_sigterm else ""
            text = render_record(record)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", INSTANCE, str(instances.root), text, ignored],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline() == "\n"
            return process

        yield start_one


def targets(instances: Instances) -> list[str]:
    entries = json.loads(instances.targets.read_text())
    return [target for entry in entries for target in entry["targets"]]


def test_a_record_is_read_as_it_was_written() -> None:
    """Tuples too, which JSON has as lists."""
    assert parse_record(render_record(make_record()).encode()) == make_record()


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"7", b'{"pid": 1}', b"\xff"])
def test_another_version_s_record_is_none(text: bytes) -> None:
    """Neither a traceback nor an instance."""
    assert parse_record(text) is None


def test_an_instance_is_running_as_long_as_it_lives(
    instances: Instances, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Its record names it, its death ends it; clean() says whose record it removed."""
    first, second = start(make_record(port=8080)), start(make_record(port=8081))
    running = instances.find_running()
    assert [(one.pid, one.port) for one in running] == sorted(
        [(first.pid, 8080), (second.pid, 8081)]
    )
    assert instances.clean() == []

    first.kill()
    first.wait()

    assert [one.pid for one in instances.find_running()] == [second.pid]
    assert instances.clean() == [first.pid]
    assert instances.clean() == []
    assert targets(instances) == ["127.0.0.1:8081"]
    second.communicate()
    assert (instances.find_running(), targets(instances)) == ([], [])


def test_looking_does_not_let_go_of_a_lock(instances: Instances) -> None:
    """A process that closes its own record would lose it: it does not open it again."""
    with instances.locked():
        registration = instances.register(make_record(os.getpid()))
    path = instances.root / "instances" / f"{os.getpid()}.json"
    for _ in range(2):
        assert instances.find_running() == [make_record(os.getpid())]
    looked = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from vtap.records import look_at;"
            "print(look_at(Path(sys.argv[1])).lives)",
            str(path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert looked.stdout == "True\n"
    registration.close()
    assert (instances.find_running(), path.exists()) == ([], False)


def test_a_record_is_alive_while_it_is_replaced(
    instances: Instances, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A thousand looks at a record that changes a hundred times never see a dead instance."""
    process = start(make_record())
    path = instances.root / "instances" / f"{process.pid}.json"
    assert process.stdin
    assert process.stdout
    process.stdin.write("".join(f"{port}\n" for port in range(9000, 9100)))
    process.stdin.flush()

    looks = [look_at(path) for _ in range(1000)]

    assert [look for look in looks if look is None or not look.lives] == []
    for _ in range(100):
        process.stdout.readline()
    assert [one.port for one in instances.find_running()] == [9099]


@pytest.mark.parametrize("locked", [False, True])
def test_a_record_of_another_process_s_pid_is_a_leftover(
    instances: Instances,
    start: Callable[..., subprocess.Popen[str]],
    locked: bool,  # noqa: FBT001
) -> None:
    """Unlocked, and locked by another process than it names: the kernel says who has it."""
    process = start(make_record())
    with subprocess.Popen(["sleep", "1000"]) as sleeper, contextlib.ExitStack() as ending:
        ending.callback(sleeper.kill)
        forged = instances.root / "instances" / f"{sleeper.pid}.json"
        forged.write_text(render_record(make_record(sleeper.pid)))
        found = Found(make_record(sleeper.pid), instances)
        with contextlib.ExitStack() as stack:
            if locked:
                locker = stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", LOCKER, str(forged)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                    )
                )
                assert locker.stdout
                assert locker.stdout.readline() == b"\n"

            assert [one.pid for one in instances.find_running()] == [process.pid]
            assert list(stop_instances([found])) == [f"stopped instance {sleeper.pid} (port 8080)"]
            if locked:
                locker.communicate()
        assert sleeper.poll() is None
        assert instances.clean() == [sleeper.pid]
    assert [one.pid for one in instances.find_running()] == [process.pid]


def test_a_leftover_of_one_s_own_pid_is_replaced(instances: Instances) -> None:
    """The kernel gave the pid of a killed instance to the next one."""
    folder = instances.root / "instances"
    folder.mkdir(parents=True)
    (folder / f"{os.getpid()}.json").write_text(render_record(make_record(os.getpid(), 9999)))

    with instances.locked():
        registration = instances.register(make_record(os.getpid(), 8080))

    assert [one.port for one in instances.find_running()] == [8080]
    registration.close()


def test_only_what_measures_and_serves_is_a_target(
    instances: Instances, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Not what compiles still, nor what has no endpoint."""
    start(make_record(port=8080, measuring=False))
    start(make_record(port=None))
    process = start(replace(make_record(port=8082), address="::"))
    start(replace(make_record(port=8083), address="0.0.0.0"))  # noqa: S104 - not bound
    start(replace(make_record(port=8084), address="192.0.2.1"))

    entries = json.loads(instances.targets.read_text())

    assert sorted(targets(instances)) == ["127.0.0.1:8083", "192.0.2.1:8084", "[::1]:8082"]
    (labels,) = (one["labels"] for one in entries if one["targets"] == ["[::1]:8082"])
    assert labels == {
        "host": os.uname().nodename,
        "interfaces": "eth0,eth1",
        "pid": str(process.pid),
        "config": "edge.json",
    }


def test_who_reads_the_list_needs_no_privilege(instances: Instances) -> None:
    """Prometheus runs as another user, and root's umask may be strict."""
    before = os.umask(0o077)
    try:
        with instances.locked():
            registration = instances.register(make_record(os.getpid()))
        registration.close()
    finally:
        os.umask(before)

    for path in (instances.root, instances.targets.parent):
        assert path.stat().st_mode & 0o777 == 0o755
    assert instances.targets.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in instances.targets.parent.iterdir()] == ["instances.json"]


def test_a_folder_of_another_user_is_refused(
    instances: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says could not be trusted, nor be written without privilege later."""
    instances.root.mkdir()
    monkeypatch.setattr(module.os, "geteuid", lambda: instances.root.stat().st_uid + 1)

    with pytest.raises(VtapError, match="state: it belongs to another user; mend that or name"):
        instances.locked().__enter__()


def test_a_lock_that_is_not_given_back_is_not_waited_for_for_ever(
    instances: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder may have been stopped; the message says how it is found."""
    monkeypatch.setattr(module, "LOCK_BOUND_S", 0.1)
    path = instances.root / "lock"
    with (
        instances.locked(),
        pytest.raises(VtapError) as raised,
        Instances(instances.root).locked(),
    ):
        pytest.fail("locked twice")

    assert str(raised.value) == (
        f"cannot lock {path}: another process has had it for 0.1 s; fuser {path} names it"
    )
    with Instances(instances.root).locked():
        assert path.stat().st_mode & 0o777 == 0o600


def test_logs_are_kept_but_not_for_ever(
    instances: Instances, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """The last 20 of those that ended, and those of what runs, however old."""
    running = start(make_record())
    logs = instances.root / "logs"
    for number, pid in enumerate([running.pid, *range(5_000_000, 5_000_030)]):
        path = logs / f"{pid}.log"
        path.touch()
        os.utime(path, (number, number))

    start(make_record())

    kept = {int(path.stem) for path in logs.iterdir()}
    assert kept == {running.pid, *range(5_000_010, 5_000_030)}


@pytest.mark.parametrize(
    ("environment", "uid", "own", "known"),
    [
        ({}, 0, "/run/vtap", ["/run/vtap"]),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/vtap", ["/run/vtap"]),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/vtap",
         ["/run/user/7/vtap", "/run/vtap"]),
        ({"VTAP_STATE_DIR": "/srv/x", "XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/srv/x", ["/srv/x"]),
        ({"VTAP_STATE_DIR": ""}, 0, "/run/vtap", ["/run/vtap"]),
    ],
)  # fmt: skip
def test_where_records_are(
    environment: dict[str, str], uid: int, own: str, known: list[str]
) -> None:
    """Root's in one place that everybody looks at."""
    assert own_folder(environment, uid) == Path(own)
    assert known_folders(environment, uid) == [Path(folder) for folder in known]


def test_a_user_without_a_runtime_folder() -> None:
    """May look at root's instances, and is told what to name for an own one."""
    assert known_folders({}, 7) == [Path("/run/vtap")]
    with pytest.raises(VtapError, match="XDG_RUNTIME_DIR is not set; name a folder with VTAP_ST"):
        own_folder({}, 7)


def test_stop_kills_what_does_not_end(
    instances: Instances, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """After its bound, and says so; what ends is not waited for."""
    deaf = start(make_record(port=8080), ignoring_sigterm=True)
    hearing = start(make_record(port=8081))
    by_pid = {one.pid: Found(one, instances) for one in instances.find_running()}

    outcomes = list(stop_instances([by_pid[deaf.pid], by_pid[hearing.pid]], bound_s=0.5))

    assert outcomes == [
        f"killed instance {deaf.pid} (port 8080): it had not ended 0.5 s after SIGTERM",
        f"stopped instance {hearing.pid} (port 8081)",
    ]
    assert (deaf.wait(), hearing.wait()) == (-signal.SIGKILL, -signal.SIGTERM)


def test_who_may_not_signal_is_told(
    instances: Instances,
    start: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an error to go on after, not as an exception."""
    process = start(make_record())

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)

    (outcome,) = stop_instances([Found(one, instances) for one in instances.find_running()])

    assert isinstance(outcome, PrivilegeError)
    assert process.poll() is None


def test_pids_and_ports_are_offered_to_the_shell(
    instances: Instances,
    start: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of what runs now; one without an endpoint has its pid only."""
    monkeypatch.setenv("VTAP_STATE_DIR", str(instances.root))
    assert _complete_number() == []
    with_port, without = start(make_record(port=8085)), start(make_record(port=None))

    assert set(_complete_number()) == {str(with_port.pid), "8085", str(without.pid)}


def test_a_record_has_no_more_than_is_documented() -> None:
    """What other programs may read of it stays what it is."""
    assert list(asdict(make_record())) == [
        "pid", "started", "address", "port", "interfaces", "config", "interval_s", "arguments",
        "folder", "detached", "measuring",
    ]  # fmt: skip
