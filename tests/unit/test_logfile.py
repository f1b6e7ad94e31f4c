"""The log file of the original design: its name, its header, its rows, and a full disk."""

from __future__ import annotations

import errno
import os
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.samples import WALL_TIME, make_report, make_sample, stream_key
from vtap.errors import VtapError
from vtap.measurements import Basis, Value
from vtap.outputs.logfile import LogFiles
from vtap.rules import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vtap.reports import Report

TCP, UDP, ICMP = Protocol
STARTED = datetime(2021, 6, 17, 23, 34, 13, tzinfo=timezone.utc)
NAME = f"monitor_{os.getpid()}_2021-06-17_23:34"
HEADER = (
    "2021-06-17,23:34:13 | "
    "TCP_Throughput (bytes/sec) | TCP_Goodput (bytes/sec) | TCP_Jitter_AVG (ms) | "
    "TCP_Jitter_STDDEV (ms) | TCP_seq_num | TCP_count | TCP_reverse_error | TCP_small_err | "
    "TCP_big_err | TCP_total_err | "
    "UDP_Throughput (bytes/sec) | UDP_Goodput (bytes/sec) | UDP_Jitter_AVG (ms) | "
    "UDP_Jitter_STDDEV (ms) | UDP_seq_num | UDP_count | UDP_reverse_error | UDP_small_err | "
    "UDP_big_err | UDP_total_err | "
    "ICMP_Throughput (bytes/sec) | ICMP_Goodput (bytes/sec) | ICMP_Jitter_AVG (ms) | "
    "ICMP_Jitter_STDDEV (ms) | ICMP_seq_num | ICMP_count | ICMP_reverse_error | ICMP_small_err | "
    "ICMP_big_err | ICMP_total_err\n"
    "\n"
)
TCP_VALUES: dict[str, Value | None] = {
    "throughput_bytes_per_second": 11_594_400.12344,
    "goodput_bytes_per_second": 2_108_000,
    "interarrival_mean_seconds": 0.0000054,
    "jitter_stddev_seconds": 0.00125,
    "sequence.number": 4294967295,
    "sequence.packets": 120,
    "sequence.reverse": 1,
    "sequence.small": 2,
    "sequence.big": 3,
    "sequence.errors": 6,
}
TCP_ROW = "11594400.1234 | 2108000.0000 | 0.0054 | 1.2500 | 4294967295 | 120 | 1 | 2 | 3 | 6"
EMPTY_ROW = "0.0000 | 0.0000 | 0.0000 | 0.0000 | 0 | 0 | 0 | 0 | 0 | 0"
INTERVAL = {Basis.INTERVAL, Basis.TOTAL}
JITTER_INTERVAL = {Basis.JITTER_INTERVAL, Basis.TOTAL}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have local time, which the log shows, be UTC."""
    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def open_log(folder: Path, *interfaces: str, said: list[str] | None = None) -> LogFiles:
    said = [] if said is None else said
    return LogFiles(folder, interfaces or ("veth1",), said.append, now=STARTED)


def reports_of(
    interface: str = "veth1", tcp: dict[str, Value | None] | None = None, **more: Any
) -> list[Report]:
    values = {TCP: tcp or {}, UDP: {}, ICMP: {}}
    return [make_report(stream_key(p, interface), values[p], **more) for p in Protocol]


def test_the_file_is_named_after_process_and_time(tmp_path: Path) -> None:
    """In the folder given, one for one interface."""
    open_log(tmp_path).close()

    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.log"]


def test_the_header_is_there_from_the_start(tmp_path: Path) -> None:
    """Time and column names joined by ` | `, then an empty line."""
    log = open_log(tmp_path)
    text = (tmp_path / f"{NAME}.log").read_text()
    log.close()

    assert text == HEADER


def test_an_interval_is_a_row(tmp_path: Path) -> None:
    """Time and values joined by ` | `, four decimals, milliseconds, 0 where not measured."""
    log = open_log(tmp_path)
    log.emit(reports_of(tcp=TCP_VALUES), make_sample())
    log.emit(reports_of(wall_time=WALL_TIME + 59.999), make_sample())
    text = (tmp_path / f"{NAME}.log").read_text()  # before closing: rows are not held back
    log.close()

    assert text == HEADER + (
        f"2026-11-22,20:00:01 | {TCP_ROW} | {EMPTY_ROW} | {EMPTY_ROW}\n"
        f"2026-11-22,20:01:00 | {EMPTY_ROW} | {EMPTY_ROW} | {EMPTY_ROW}\n"
    )


def test_a_row_has_as_many_values_as_the_header_has_names(tmp_path: Path) -> None:
    """1 + 3 x 10."""
    log = open_log(tmp_path)
    log.emit(reports_of(), make_sample())
    log.close()
    header, _, row = (tmp_path / f"{NAME}.log").read_text().splitlines()

    assert len(header.split(" | ")) == len(row.split(" | ")) == 31


def test_a_value_stays_until_its_next_interval_ends(tmp_path: Path) -> None:
    """-t 2 -j 1: a row of the jitter interval shows the last throughput, not a drop to 0."""
    log = open_log(tmp_path)
    rows = [
        (JITTER_INTERVAL, {"jitter_stddev_seconds": 0.001}),
        (INTERVAL | JITTER_INTERVAL, {"throughput_bytes_per_second": 5.0,
                                      "jitter_stddev_seconds": 0.002}),
        (JITTER_INTERVAL, {"jitter_stddev_seconds": 0.003}),
        (JITTER_INTERVAL, {"jitter_stddev_seconds": None}),
        (INTERVAL, {"throughput_bytes_per_second": 6.0}),
        (INTERVAL, {"throughput_bytes_per_second": None}),
    ]  # fmt: skip
    for ended, values in rows:
        log.emit(reports_of(tcp=dict(values), ended=ended), make_sample())
    log.close()
    written = (tmp_path / f"{NAME}.log").read_text().splitlines()[2:]

    assert [(row.split(" | ")[1], row.split(" | ")[4]) for row in written] == [
        ("0.0000", "1.0000"),
        ("5.0000", "2.0000"),
        ("5.0000", "3.0000"),
        ("5.0000", "0.0000"),
        ("6.0000", "0.0000"),
        ("0.0000", "0.0000"),
    ]


def test_several_interfaces_have_a_file_each(tmp_path: Path) -> None:
    """The columns have no room for a second one."""
    log = open_log(tmp_path, "veth1", "veth2")
    log.emit(reports_of("veth1") + reports_of("veth2", TCP_VALUES), make_sample())
    log.close()

    rest = f"{EMPTY_ROW} | {EMPTY_ROW}\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{NAME}_veth1.log": f"{HEADER}2026-11-22,20:00:01 | {EMPTY_ROW} | {rest}",
        f"{NAME}_veth2.log": f"{HEADER}2026-11-22,20:00:01 | {TCP_ROW} | {rest}",
    }


def test_rows_of_single_rules_are_not_in_the_log(tmp_path: Path) -> None:
    """It is about the row over all rules."""
    log = open_log(tmp_path)
    voice = make_report(stream_key(TCP, rule="voice"), TCP_VALUES)
    log.emit([voice, *reports_of(), voice], make_sample())
    log.close()

    assert "11594400" not in (tmp_path / f"{NAME}.log").read_text()


def test_a_folder_that_is_not_there_is_said_with_the_cure(tmp_path: Path) -> None:
    """Before anything is measured."""
    folder = tmp_path / "nowhere"

    with pytest.raises(VtapError) as caught:
        open_log(folder)
    assert str(caught.value) == (
        f"cannot write log {folder}/{NAME}.log: no such file or directory; "
        "name another folder with --log-dir"
    )


def test_a_log_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    """Whosever it is."""
    (tmp_path / f"{NAME}.log").write_text("kept")

    with pytest.raises(VtapError, match=r"\.log: file exists; name another folder"):
        open_log(tmp_path)
    assert (tmp_path / f"{NAME}.log").read_text() == "kept"


class Disk:
    """A file on a disk that is full when told so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.full = False
        self.text = ""
        self.closed = False

    def write(self, text: str) -> None:
        if not self.full:
            self.text += text

    def flush(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self.flush()
        self.closed = True


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Disk]:
    """Have every file opened be a Disk, by the end of its stem."""
    opened: dict[str, Disk] = {}

    def open_disk(path: Path, *_: object, **__: object) -> Disk:
        return opened.setdefault(path.stem.split("_")[-1], Disk(str(path)))

    monkeypatch.setattr("pathlib.Path.open", open_disk)
    return opened


def test_a_full_disk_is_said_once_and_tried_again(tmp_path: Path, disks: dict[str, Disk]) -> None:
    """Measuring goes on; rows come back with the room, and the next time it is said anew."""
    said: list[str] = []
    log = open_log(tmp_path, said=said)
    (disk,) = disks.values()
    for full in (False, True, True, False, True):
        disk.full = full
        log.emit(reports_of(), make_sample())
    line = (
        f"cannot write log {tmp_path}/{NAME}.log: no space left on device; "
        "measuring goes on, the log is tried again"
    )

    assert said == [line, line]
    assert disk.text.count("2026-11-22") == 2
    log.close()  # the disk is still full: closing costs nothing but the log
    assert said == [line, line]


def test_a_full_disk_of_one_interface_is_said_once_too(
    tmp_path: Path, disks: dict[str, Disk]
) -> None:
    """The other's success does not make it new."""
    said: list[str] = []
    log = open_log(tmp_path, "veth1", "veth2", said=said)
    disks["veth1"].full = True
    for _ in range(3):
        log.emit(reports_of("veth1") + reports_of("veth2"), make_sample())

    assert [line.partition(":")[0] for line in said] == [f"cannot write log {tmp_path}/{NAME[:-6]}"
                                                         "_23"]  # fmt: skip
    assert disks["veth2"].text.count("2026-11-22") == 3


def test_a_real_full_device_costs_the_log_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Python keeps back for it does not fail later."""
    real = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115, PTH123 - LogFiles closes it
    monkeypatch.setattr("pathlib.Path.open", lambda *_, **__: real)
    said: list[str] = []
    log = open_log(tmp_path, said=said)
    for _ in range(300):  # more than a buffer
        log.emit(reports_of(), make_sample())
    log.close()

    assert said == [
        "cannot write log /dev/full: no space left on device; "
        "measuring goes on, the log is tried again"
    ]
    assert real.closed
