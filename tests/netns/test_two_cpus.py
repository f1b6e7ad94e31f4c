"""Nothing is lost or counted twice when two CPUs receive at full rate, three million a second."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.frames import ethernet, ipv4, tcp, udp
from tests.support.injector import Injector
from tests.support.monitor import run_monitor
from vtap.codegen import generate_source
from vtap.config import Config
from vtap.program import Program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.netns import Veth

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")

N = 2_000_000
UDP_FRAME = ethernet(ipv4(udp(bytes(4) + struct.pack("!I", 7) + bytes(10))))
TCP_FRAME = ethernet(ipv4(tcp(bytes(6))))
UDP_NUMBER = 14 + 20 + 8 + 4  # Ethernet, IPv4, UDP, OFFSET
TCP_NUMBER = 14 + 20 + 4  # Ethernet, IPv4, ports


@pytest.fixture(params=[True, False], ids=["jitter", "no jitter"])
def config(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Change whether jitter is measured: it takes part in the order of packets."""
    return {"DISPLAY": {"Jitter": request.param}}


def test_one_stream_on_two_cpus_is_exact(
    veth: Veth, tmp_path: Path, config: Mapping[str, Any]
) -> None:
    """Of 2 x 2 million packets with one and the same number all but the first are small errors."""
    with (
        run_monitor(
            veth.right.namespace, tmp_path, "-i", veth.right.ifname, "--format", "json",
            config=config,
        ) as monitor,
        Injector(veth.right) as injector,
    ):  # fmt: skip
        for injection in [injector.start(UDP_FRAME, N, cpu=cpu) for cpu in (0, 1)]:
            injection.wait()
        outcome = monitor.end()

    assert outcome.counts("UDP") == (2 * N, 2 * N * len(UDP_FRAME), 2 * N * 18)
    assert outcome.total("UDP")["sequence"] == {
        "number": 7,
        "packets": 2 * N,
        "reverse": 0,
        "small": 2 * N - 1,
        "big": 0,
        "errors": 2 * N - 1,
    }
    assert outcome.counts("TCP") == outcome.counts("ICMP") == (0, 0, 0)


def test_two_protocols_on_two_cpus_do_not_disturb_each_other(
    veth: Veth, tmp_path: Path, config: Mapping[str, Any]
) -> None:
    """TCP numbered on one CPU and UDP on the other at once: no error in either."""
    with (
        run_monitor(
            veth.right.namespace, tmp_path, "-i", veth.right.ifname, "--format", "json",
            config=config,
        ) as monitor,
        Injector(veth.right, number_offset=TCP_NUMBER) as of_tcp,
        Injector(veth.right, number_offset=UDP_NUMBER) as of_udp,
    ):  # fmt: skip
        first = 2**32 - N // 2  # the numbers wrap half way
        injections = [
            of_tcp.start(TCP_FRAME, N, cpu=0, first_number=first),
            of_udp.start(UDP_FRAME, N, cpu=1),
        ]
        for injection in injections:
            injection.wait()
        outcome = monitor.end()

    assert outcome.counts("TCP") == (N, N * len(TCP_FRAME), N * 6)
    assert outcome.counts("UDP") == (N, N * len(UDP_FRAME), N * 18)
    for protocol, number in (("TCP", N // 2 - 1), ("UDP", N - 1)):
        expected = {"number": number, "packets": N, "reverse": 0, "small": 0, "big": 0, "errors": 0}
        assert outcome.total(protocol)["sequence"] == expected


@pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning")  # of BCC
def test_every_packet_but_the_first_has_a_gap(veth: Veth) -> None:
    """Times that two CPUs take are all used, each once; none makes a gap of 2^64."""

    def count() -> Mapping[str, int]:
        source = generate_source(Config(offset=4), 1)
        with Program(source, (veth.right.ifname,)) as program, Injector(veth.right) as injector:
            for injection in [injector.start(UDP_FRAME, N, cpu=cpu) for cpu in (0, 1)]:
                injection.wait()
            streams = program.read().streams
        return next(s.counters for key, s in streams.items() if key.protocol.name == "UDP")

    counters = veth.right.namespace.call(count)

    assert counters["packets"] == 2 * N
    # An interruption is a machine that stood still for two seconds; it is counted all the same.
    assert counters["gaps"] + counters["interruptions"] == 2 * N - 1
    squares = (counters["gap_squares_high"] << 32) + counters["gap_squares_low"]
    assert 0 < counters["gap_sum_ns"] ** 2 <= counters["gaps"] * squares  # Cauchy-Schwarz
