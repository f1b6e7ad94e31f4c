"""start, stop, status, logs and restart: what each verb of controller.py does.

Stands on instances.py for what runs, and on monitor.py for being an instance.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from vtap.detach import Child, fork_instance
from vtap.errors import InstanceError, VtapError
from vtap.instances import Instances, known_folders
from vtap.status import check, render_json, render_table
from vtap.stopping import Found, stop_instances

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vtap.options import Options
    from vtap.records import Record

FOLLOW_S = 0.2
NONE_RUNNING = "no instance is running"


def start(options: Options, arguments: Sequence[str], *, detached: bool) -> int:
    """Be an instance, or have a detached one; returns its exit status, 0 once that measures."""
    if options.check or options.show_bpf:
        detached = False  # no instance comes of it
    role = fork_instance() if detached else None
    if isinstance(role, Child):
        outcome = role.wait()
        if isinstance(outcome, int):
            return outcome
        print(_describe(outcome))
        return 0
    from vtap.enlist import Launch  # noqa: PLC0415 - what only an instance needs
    from vtap.monitor import run  # noqa: PLC0415

    return run(options, Launch(tuple(arguments), controlled=True, detach=role))


def _describe(record: Record) -> str:
    port = "no port" if record.port is None else f"port {record.port}"
    return f"instance {record.pid} measures on {', '.join(record.interfaces)}, {port}"


def find_all() -> list[Found]:
    """Return what runs, and clean up what does not any more."""
    found = []
    for folder in known_folders(os.environ, os.geteuid()):
        instances = Instances(folder)
        try:
            gone = instances.clean() if os.access(folder, os.W_OK) else []
        except VtapError as error:
            _complain(str(error))
            gone = []
        for pid in gone:
            log = instances.log_path(pid)
            kept = f"; its log is {log}" if log.exists() else ""
            _complain(f"instance {pid} died without a farewell, its record is removed{kept}")
        found += [Found(record, instances) for record in instances.find_running()]
    return found


def find_one(number: int, found: Sequence[Found]) -> Found:
    """Return the instance with this pid or port; InstanceError if there is none, or two."""
    matching = [one for one in found if number in (one.record.pid, one.record.port)]
    if not matching:
        message = f"no instance has pid or port {number}; controller.py status shows those that run"
        raise InstanceError(message)
    if len(matching) > 1:
        names = " and ".join(str(one.record) for one in matching)
        cure = "name it by its other number"
        message = f"{number} is the pid of one instance and the port of another: {names}; {cure}"
        raise InstanceError(message)
    return matching[0]


def stop(numbers: Sequence[int]) -> int:
    """Stop the instances named by pid or port, or all; returns the worst exit status."""
    found = find_all()
    if not numbers and not found:
        print(NONE_RUNNING)
    chosen: dict[int, Found] = {} if numbers else {one.record.pid: one for one in found}
    status = 0
    for number in numbers:
        one = _find_or_complain(number, found)
        if one is None:
            status = InstanceError.exit_status
        else:
            chosen[one.record.pid] = one
    for outcome in stop_instances(list(chosen.values())):
        if isinstance(outcome, VtapError):
            _complain(str(outcome))
            status = max(status, outcome.exit_status)
        else:
            print(outcome, flush=True)
    for instances in {one.instances.root: one.instances for one in chosen.values()}.values():
        if os.access(instances.root, os.W_OK):
            instances.clean()  # the record of one that was killed
    return status


def _find_or_complain(number: int, found: Sequence[Found]) -> Found | None:
    try:
        return find_one(number, found)
    except InstanceError as error:
        _complain(str(error))
        return None


def show_status(*, as_json: bool) -> int:
    """Print what runs; returns 0 also if nothing does."""
    statuses = check([(one.record, one.log) for one in find_all()])
    if as_json:
        print(render_json(statuses))
    else:
        print(render_table(statuses) if statuses else NONE_RUNNING)
    return 0


def show_log(number: int, *, follow: bool) -> int:
    """Print the log of an instance, also of one that has ended, and with follow what comes."""
    found = find_all()
    try:
        one = find_one(number, found)
    except InstanceError:
        for folder in known_folders(os.environ, os.geteuid()):
            log = Instances(folder).log_path(number)
            if log.exists():
                sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
                return 0
        raise
    if one.log is None:
        message = f"{one.record} has no log: it was started without --detached, look where it was"
        raise InstanceError(message)
    _print_log(one, one.log, follow=follow)
    return 0


def _print_log(one: Found, log: Path, *, follow: bool) -> None:
    """Print a log; with follow until the instance ends."""
    process = one.open_process() if follow else None
    with log.open(encoding="utf-8", errors="replace") as file:
        ended = False
        while not ended:
            # Looked at first: what it wrote last is read after its end was seen.
            ended = process is None or process.wait(0)
            sys.stdout.write(file.read())
            sys.stdout.flush()
            if process and not ended:
                process.wait(FOLLOW_S)


def restart(number: int, read_options: Callable[[Sequence[str]], Options]) -> int:
    """Stop an instance and start it detached with its options, on its port, in its folder.

    Nothing is stopped whose configuration or interfaces would not do any more.
    """
    from vtap.monitor import prepare  # noqa: PLC0415 - what only an instance needs

    record = find_one(number, find_all()).record
    try:
        os.chdir(record.folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot restart {record}: {record.folder}: {reason}"
        raise VtapError(message) from None
    options = replace(read_options(record.arguments), server_port=record.port)
    prepare(options)
    status = stop([record.pid])
    if status:
        return status
    return start(options, record.arguments, detached=True)


def _complain(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
