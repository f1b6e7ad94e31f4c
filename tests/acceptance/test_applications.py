"""Real applications' own accounts agree with vTap's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.applications import (
    BUCKET,
    iperf3_tcp_rows,
    iperf3_udp_rows,
    ping_rows,
)
from tests.acceptance.rows import Row, wrong_rows
from tests.acceptance.transfer import FILE_BYTES, OFFLOADS, Offloads, file_rows

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("traffic_tools")

UNREAD = 30  # datagrams: the bucket holds 30 kB of them, of 1042 bytes each


def figure(rows: list[Row], measurement: str) -> Row:
    """Pick a row."""
    return next(row for row in rows if row.measurement == measurement)


def test_iperf3_tcp_bytes(tmp_path: Path) -> None:
    """The payload is what iperf3 received, and its cookie."""
    assert wrong_rows(iperf3_tcp_rows(tmp_path)) == []


def test_iperf3_udp_without_loss(tmp_path: Path) -> None:
    """Packets and bytes are iperf3's own, and no number is missing to either."""
    rows = iperf3_udp_rows(tmp_path)

    assert wrong_rows(rows) == []
    assert figure(rows, "lost packets").vtap == 0


def test_iperf3_udp_with_loss(tmp_path: Path) -> None:
    """Behind a bucket that drops, the numbers missing to vTap are those that it dropped.

    iperf3's server leaves what the bucket still held at the end unread; a loss among that is
    vTap's alone.
    """
    rows = iperf3_udp_rows(tmp_path, shaped_to=BUCKET)
    lost = figure(rows, "lost packets")

    assert wrong_rows(rows) == []
    assert lost.vtap > 0
    assert 0 <= lost.vtap - lost.others["iperf3's server"] <= UNREAD


def test_ping(tmp_path: Path) -> None:
    """Every request and reply that ping counts, with its bytes."""
    assert wrong_rows(ping_rows(tmp_path)) == []


@pytest.mark.parametrize("offloads", OFFLOADS, ids=lambda offloads: offloads.name)
def test_a_file_over_tcp(offloads: Offloads, tmp_path: Path) -> None:
    """Segments and bytes on the wire are those that TCP sent, merged or not; how many the kernel
    merged is told.
    """
    rows = file_rows(tmp_path, offloads)

    assert wrong_rows(rows) == []
    assert figure(rows, "payload").vtap >= FILE_BYTES
    assert bool(figure(rows, "packets that the kernel had merged").vtap) == any(offloads)
