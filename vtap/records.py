"""One record of an instance: its contents, its file, and whether its process lives.

A record is a file that its instance alone writes, and keeps locked while it lives: one without
its lock is a leftover, whatever process has the pid by now.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_FLOCK = "hhqqi0q"
"""struct flock of fcntl(2): l_type, l_whence, l_start, l_len, l_pid, and the padding."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


@dataclass(frozen=True)
class Record:
    """What an instance says of itself.

    Attributes:
        started: ISO 8601, UTC.
        address: where its endpoint is bound; port is None where it serves none.
        config: absolute path.
        arguments: its options as they were given, in folder, its working directory then.
        detached: it writes to a log, not to a terminal.
        measuring: False while the program is compiled.
    """

    pid: int
    started: str
    address: str
    port: int | None
    interfaces: tuple[str, ...]
    config: str
    interval_s: float
    arguments: tuple[str, ...]
    folder: str
    detached: bool
    measuring: bool = False

    @property
    def target(self) -> str | None:
        """Where its endpoint is reached from this host."""
        if self.port is None:
            return None
        address = _ANY_ADDRESS.get(self.address, self.address)
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"

    def __str__(self) -> str:
        """Name the instance in messages."""
        return f"instance {self.pid}" + ("" if self.port is None else f" (port {self.port})")


class Look(NamedTuple):
    """What was seen of a record: its text, and whether its instance lives."""

    path: Path
    text: bytes
    lives: bool


def look_at(path: Path) -> Look | None:
    """Look at a record; None where it has gone, may not be read, or cannot be judged from here."""
    try:
        while True:
            with path.open("rb") as file:
                text = file.read()
                holder = _lock_holder(file)
                if holder is None:
                    return None
                lives = str(holder) == path.stem
                # What was replaced meanwhile is not locked any more, its successor is.
                if lives or os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    return Look(path, text, lives)
    except OSError:
        return None


def _lock_holder(file: IO[bytes]) -> int | None:
    """Return the pid of the process that has the file locked, 0 if none; takes no lock itself.

    None: a process has it that this one cannot see, since it is of another pid namespace.
    """
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return 0
    return int(pid) or None


def parse_record(text: bytes) -> Record | None:
    """Return the record, None where it is another version's."""
    try:
        values: dict[str, Any] = json.loads(text)
        known = {field.name: values[field.name] for field in fields(Record)}
        known.update(interfaces=tuple(values["interfaces"]), arguments=tuple(values["arguments"]))
        return Record(**known)
    except (ValueError, KeyError, TypeError):
        return None


def render_record(record: Record) -> str:
    """Return what parse_record() reads."""
    return json.dumps(asdict(record), indent=2) + "\n"


def write_file(path: Path, text: str, *, lock: bool = False) -> IO[str]:
    """Put a whole file in the place of path at once; returns it open, locked if asked."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    file = temporary.open("w", encoding="utf-8")
    try:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), 0o644)  # Prometheus runs as another user
        if lock:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            file.close()
        temporary.unlink()
        raise
    return file
