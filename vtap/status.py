"""Records -> what status shows: each instance is asked now, nothing is remembered.

An instance is asked through its endpoint, as Prometheus asks it.
"""

from __future__ import annotations

import enum
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from vtap.rules import ALL_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vtap.records import Record

ANSWER_BOUND_S = 2.0
LATE_S = 5.0
"""A sample may be this much older than the interval before the instance has failed."""

_COLUMNS = ("PID", "PORT", "INTERFACES", "SINCE", "PACKETS", "STATE", "CONFIGURATION", "LOG")
_RIGHT_ALIGNED = ("PID", "PORT", "PACKETS")


class State(enum.Enum):
    """What an instance does now."""

    STARTING = "starting"
    MEASURING = "measuring"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


class Answer(NamedTuple):
    """What an endpoint said.

    Attributes:
        packets: counted since the start; None before the first interval has ended.
        sample_time: when they were read, seconds since the epoch; None as packets.
        up: whether any of its interfaces is there and up.
    """

    packets: int | None
    sample_time: float | None
    up: bool


class Status(NamedTuple):
    """One line of the table."""

    record: Record
    state: State
    packets: int | None
    log: Path | None


def ask(record: Record, bound_s: float = ANSWER_BOUND_S) -> Answer | None:
    """Scrape the endpoint of an instance; None if it does not answer within the bound."""
    if record.target is None:
        return None
    connection = http.client.HTTPConnection(record.target, timeout=bound_s)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return (
            parse_answer(response.read().decode())
            if response.status == http.HTTPStatus.OK
            else None
        )
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def parse_answer(text: str) -> Answer:
    """Read what Prometheus reads; ValueError if it is something else."""
    from prometheus_client.parser import (  # noqa: PLC0415 - slow to import
        text_string_to_metric_families,
    )

    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    samples = [one for family in families for one in family.samples]
    packets = [
        one.value
        for one in samples
        if one.name == "vtap_packets_total" and one.labels.get("rule") == ALL_RULES
    ]
    times = [one.value for one in samples if one.name == "vtap_sample_timestamp_seconds"]
    up = [one.value for one in samples if one.name == "vtap_interface_up"]
    if not any(one.name == "vtap_build_info" for one in samples):
        message = "another program's metrics"
        raise ValueError(message)
    return Answer(
        int(sum(packets)) if packets else None, times[0] if times else None, any(up) or not up
    )


def judge(record: Record, answer: Answer | None, now: float) -> State:
    """Say what an instance does, from its answer; now in seconds since the epoch.

    One without an endpoint cannot be asked: that its process holds its record is all there is.
    """
    if not record.measuring:
        return State.STARTING
    if record.port is None:
        return State.MEASURING
    if answer is None:
        return State.UNREACHABLE
    latest = answer.sample_time or datetime.fromisoformat(record.started).timestamp()
    late = now - latest > record.interval_s + LATE_S
    return State.FAILED if late or not answer.up else State.MEASURING


def check(
    instances: Sequence[tuple[Record, Path | None]],
    *,
    ask: Callable[[Record], Answer | None] = ask,
    now: Callable[[], float] = time.time,
) -> list[Status]:
    """Ask all instances at once; takes each with its log."""
    with ThreadPoolExecutor(max_workers=max(1, len(instances))) as pool:
        answers = list(pool.map(ask, [record for record, _ in instances]))
    return [
        Status(record, judge(record, answer, now()), answer.packets if answer else None, log)
        for (record, log), answer in zip(instances, answers)
    ]


def render_json(statuses: Sequence[Status]) -> str:
    """Return a list of objects."""
    return json.dumps([_make_object(status) for status in statuses], indent=2)


def _make_object(status: Status) -> dict[str, Any]:
    record = status.record
    return {
        "pid": record.pid,
        "port": record.port,
        "interfaces": list(record.interfaces),
        "started": record.started,
        "packets": status.packets,
        "state": status.state.value,
        "config": record.config,
        "log": None if status.log is None else str(status.log),
    }


def render_table(statuses: Sequence[Status]) -> str:
    """Return the table, its columns as wide as they must be."""
    rows = [_COLUMNS, *map(_make_row, statuses)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if title in _RIGHT_ALIGNED else cell.ljust(width)
            for title, cell, width in zip(_COLUMNS, row, widths)
        ).rstrip()
        for row in rows
    )


def _make_row(status: Status) -> tuple[str, ...]:
    record = status.record
    since = datetime.fromisoformat(record.started).astimezone()
    return (
        str(record.pid),
        "-" if record.port is None else str(record.port),
        ",".join(record.interfaces),
        f"{since:%Y-%m-%d %H:%M:%S}",
        "-" if status.packets is None else str(status.packets),
        status.state.value,
        record.config,
        "-" if status.log is None else str(status.log),
    )
