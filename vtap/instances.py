"""The instances recorded in a folder: what controller.py stands on, and Prometheus' list of them.

Stands on the records of records.py; knows neither BCC nor outputs.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vtap.errors import VtapError
from vtap.records import Look, Record, look_at, parse_record, render_record, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SYSTEM_FOLDER = Path("/run/vtap")
FOLDER_VARIABLE = "VTAP_STATE_DIR"
LOCK_BOUND_S = 10
LOCK_POLL_S = 0.01
KEPT_LOGS = 20
"""Logs of ended instances are kept for a look at why, but not for ever: /run is memory."""


def own_folder(environment: Mapping[str, str], uid: int) -> Path:
    """Return the folder that instances of this user are recorded in; VtapError if there is none."""
    if environment.get(FOLDER_VARIABLE):
        return Path(environment[FOLDER_VARIABLE]).absolute()
    if uid == 0:
        return SYSTEM_FOLDER
    if environment.get("XDG_RUNTIME_DIR"):
        return Path(environment["XDG_RUNTIME_DIR"], "vtap")
    message = (
        "cannot keep records of instances: not root, and XDG_RUNTIME_DIR is not set; "
        f"name a folder with {FOLDER_VARIABLE}"
    )
    raise VtapError(message)


def known_folders(environment: Mapping[str, str], uid: int) -> list[Path]:
    """Return the folders to look for instances in: one's own, and root's."""
    if environment.get(FOLDER_VARIABLE) or uid == 0:
        return [own_folder(environment, uid)]
    folders = [SYSTEM_FOLDER]
    with suppress(VtapError):
        folders.insert(0, own_folder(environment, uid))
    return folders


class Instances:
    """The instances recorded in one folder.

    Its layout: instances/PID.json, logs/PID.log, targets/instances.json (for Prometheus) and
    lock, which is held while any of the others is changed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.targets = root / "targets" / "instances.json"
        self._records = root / "instances"
        self._logs = root / "logs"
        self._own: Record | None = None

    def log_path(self, pid: int) -> Path:
        """Return where a detached instance writes its messages."""
        return self._logs / f"{pid}.log"

    def log_of(self, record: Record) -> Path | None:
        """Return the log of an instance, None where it writes to a terminal."""
        return self.log_path(record.pid) if record.detached else None

    def find_running(self) -> list[Record]:
        """Return what runs now, by pid; changes nothing."""
        texts = [look.text for look in self._look_at_all() if look.lives]
        running = [record for record in map(parse_record, texts) if record]
        running += [self._own] if self._own else []
        return sorted(running, key=lambda record: record.pid)

    def clean(self) -> list[int]:
        """Remove what killed instances left, and return their pids; VtapError if it cannot."""
        if all(look.lives for look in self._look_at_all()):
            return []
        with self.locked():
            return self._remove_leftovers()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing anything; VtapError says why that is impossible."""
        with self.explained():
            for folder in (self.root, self._records, self._logs, self.targets.parent):
                if not folder.is_dir():
                    folder.mkdir(parents=True, exist_ok=True)
                    folder.chmod(0o755)  # whatever the umask: Prometheus runs as another user
            if self.root.stat().st_uid != os.geteuid():
                raise PermissionError(0, "it belongs to another user")
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._wait_for(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        """Take the lock; it is held for milliseconds, unless its holder is stopped or hangs."""
        deadline_s = time.monotonic() + LOCK_BOUND_S
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    path = self.root / "lock"
                    message = f"cannot lock {path}: another process has had it for {LOCK_BOUND_S} s"
                    raise VtapError(f"{message}; fuser {path} names it") from None
            time.sleep(LOCK_POLL_S)

    def update_targets(self) -> None:
        """Replace Prometheus' list at once (its file_sd_config); the lock is held."""
        entries = [_render_target(record) for record in self.find_running() if record.measuring]
        text = json.dumps([entry for entry in entries if entry], indent=2) + "\n"
        with self.explained():
            write_file(self.targets, text).close()

    def register(self, record: Record) -> Registration:
        """Record this process; the lock is held. VtapError says why it cannot be."""
        self._remove_leftovers()
        self._prune_logs()
        registration = Registration(self, self._records / f"{record.pid}.json")
        try:
            registration.write(record)
        except VtapError:
            registration.discard()
            raise
        return registration

    def _look_at_all(self) -> list[Look]:
        """Look at every record but this process's own, which would lose its lock by that.

        Closing a file lets go of all locks that the process has on it, fcntl(2).
        """
        own = f"{self._own.pid}.json" if self._own else None
        looks = [look_at(path) for path in sorted(self._records.glob("*.json")) if path.name != own]
        return [look for look in looks if look]

    def _remove_leftovers(self) -> list[int]:
        leftovers = [look.path for look in self._look_at_all() if not look.lives]
        with self.explained():
            for path in leftovers:
                path.unlink()
        if leftovers or not self.targets.exists():
            self.update_targets()
        return [int(path.stem) for path in leftovers if path.stem.isdigit()]

    def _prune_logs(self) -> None:
        running = {self.log_path(record.pid) for record in self.find_running()}
        with self.explained():
            ended = [path for path in self._logs.glob("*.log") if path not in running]
            for path in sorted(ended, key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
                path.unlink()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an OSError into the message that the folder cannot be used."""
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            cure = f"mend that or name another folder with {FOLDER_VARIABLE}"
            message = f"cannot keep records of instances in {self.root}: {reason}; {cure}"
            raise VtapError(message) from None


class Registration:
    """The record of this process, from write() to close()."""

    def __init__(self, instances: Instances, path: Path) -> None:
        self._instances = instances
        self._path = path
        self._file: IO[str] | None = None

    def write(self, record: Record) -> None:
        """Write or replace the record, locked from its first moment; the folder's lock is held."""
        with self._instances.explained():
            before, self._file = (
                self._file,
                write_file(self._path, render_record(record), lock=True),
            )
        if before:
            before.close()
        self._instances._own = record  # noqa: SLF001 - the two are one
        self._instances.update_targets()

    def close(self) -> None:
        """Remove the record; VtapError if the folder has become unwritable."""
        with self._instances.locked(), self._instances.explained():
            self.discard()
            self._instances.update_targets()

    def discard(self) -> None:
        """Remove the record; the folder's lock is held. Raises OSError."""
        self._instances._own = None  # noqa: SLF001 - the two are one
        self._path.unlink(missing_ok=True)
        if self._file:
            self._file.close()


def _render_target(record: Record) -> dict[str, Any] | None:
    if record.target is None:
        return None
    labels = {
        "host": socket.gethostname(),
        "interfaces": ",".join(record.interfaces),
        "pid": str(record.pid),
        "config": Path(record.config).name,
    }
    return {"targets": [record.target], "labels": labels}
