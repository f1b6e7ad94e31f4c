"""Real applications: iperf3, ping, and a file over TCP; the truth is what they or TCP say.

vTap watches the server's interface and counts what the client sends.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.acceptance.hosts import CLIENT, ETHERNET_BYTES, SERVER, connected
from tests.acceptance.rows import Row
from tests.acceptance.throughput import TOTAL
from tests.support.monitor import run_monitor
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.monitor import Outcome
    from tests.support.netns import Interface

DATA_PORT = 5555  # of iperf3's client, so that a rule keeps the control connection out
COOKIE_BYTES = 37  # with which each of iperf3's connections begins (COOKIE_SIZE in its iperf.h)
HELLO_BYTES = 4  # the datagram with which its UDP client begins (iperf_udp_connect())
UDP_NUMBER_AT = 8  # bytes into its datagrams, behind seconds and microseconds (iperf_udp_send())
UDP_PAYLOAD = 1000
SEGMENT_BYTES = 1500 - 20 - 20 - 12  # MTU without the headers of IPv4 and TCP and its timestamps
START_S = 30
PING = "ping, both directions"
BUCKET = "15mbit"


class Application(NamedTuple):
    """What an application said (its own words, parsed) and what vTap counted.

    Attributes:
        dropped: packets that went no further than the client's token bucket.
        refused: datagrams that found the server's socket full: lost to iperf3, not to vTap.
    """

    said: Mapping[str, Any]
    outcome: Outcome
    dropped: int
    refused: int


def run_iperf3(
    folder: Path, *options: str, protocol: str = "TCP", shaped_to: str | None = None
) -> Application:
    """Run client and server beside vTap, which counts the data connection alone.

    shaped_to is a rate above which a token bucket at the client drops.
    """
    with connected("iperf3") as veth:
        if shaped_to:
            bucket = f"root tbf rate {shaped_to} burst 20k limit 30k"
            veth.left.namespace.run(
                ["tc", "qdisc", "add", "dev", veth.left.ifname, *bucket.split()]
            )
        server = veth.right.namespace.popen(
            ["iperf3", "--server", "--one-off"], stdout=subprocess.DEVNULL
        )
        wait_until(
            lambda: veth.right.namespace.run(["ss", "-Hltn", "sport = :5201"]).stdout,
            START_S,
            "iperf3's server",
        )
        with run_monitor(
            veth.right.namespace,
            folder,
            *("-i", veth.right.ifname, "--format", "json", "-j", "3600"),
            config={"RULES": [f"{CLIENT} - {DATA_PORT} - {protocol}"], "OFFSET": UDP_NUMBER_AT},
        ) as monitor:
            words = ["iperf3", "--client", SERVER, "--cport", str(DATA_PORT), "--json", *options]
            done = veth.left.namespace.run(words)
            server.wait(START_S)
            outcome = monitor.end()
        said = json.loads(done.stdout)["end"]
        return Application(said, outcome, _bucket_drops(veth.left), _socket_drops(veth.right))


def _bucket_drops(interface: Interface) -> int:
    shown = interface.namespace.run(["tc", "-j", "-s", "qdisc", "show", "dev", interface.ifname])
    return sum(queue.get("drops", 0) for queue in json.loads(shown.stdout))


def _socket_drops(interface: Interface) -> int:
    shown = interface.namespace.run(["cat", "/proc/net/snmp"]).stdout
    names, values = (line.split()[1:] for line in shown.splitlines() if line.startswith("Udp:"))
    return int(dict(zip(names, values))["RcvbufErrors"])


def iperf3_tcp_rows(folder: Path) -> list[Row]:
    """The truth is what iperf3's client wrote, at a pace at which none of it is left unread.

    A retransmission is payload on the wire, but not to iperf3, which only says how many there were.
    """
    said, outcome, _, _ = run_iperf3(folder, "--time", "2", "--bitrate", "200M")
    sent = said["sum_sent"]
    return [
        Row(
            "payload",
            "iperf3 TCP",
            "bytes",
            sent["bytes"] + COOKIE_BYTES,
            outcome.counts("TCP")[2],
            allowed=sent["retransmits"] * SEGMENT_BYTES,
            others={"iperf3's server": said["sum_received"]["bytes"]},
        )
    ]


def iperf3_udp_rows(folder: Path, *, shaped_to: str | None = None) -> list[Row]:
    """The truth is what iperf3's client sent without what the bucket dropped.

    iperf3's server knows of loss only until it stops reading, with the last datagrams unread. Its
    jitter is another formula (RFC 1889): it stands beside, there is no truth to judge by.
    """
    said, outcome, dropped, refused = run_iperf3(
        folder,
        *("--udp", "--bitrate", "16M", "--length", str(UDP_PAYLOAD), "--time", "2"),
        protocol="UDP",
        shaped_to=shaped_to,
    )
    scenario = "iperf3 UDP" + (f" through a bucket of {shaped_to}" if shaped_to else "")
    row = outcome.total("UDP")
    sequence = row["sequence"]
    sent = said["sum"]["packets"]
    after_last = sent - sequence["number"]  # dropped at the very end, where no gap shows it
    payload = (sent - dropped) * UDP_PAYLOAD + HELLO_BYTES
    return [
        Row("packets", scenario, "packets", sent - dropped, sequence["packets"]),
        Row("payload", scenario, "bytes", payload, row["payload_bytes_total"]),
        Row(
            "lost packets",
            scenario,
            "packets",
            dropped - after_last,
            sequence["number"] - sequence["packets"],
            others={"iperf3's server": said["sum"]["lost_packets"] - refused},
        ),
        Row(
            "jitter, deviation",
            scenario,
            "ms",
            None,
            row["jitter_stddev_seconds"] * 1e3,
            others={"iperf3 (RFC 1889)": said["sum"]["jitter_ms"]},
        ),
    ]


def ping_rows(folder: Path) -> list[Row]:
    """Requests and replies, counted by ping itself."""
    count, size = 100, 56
    frame_bytes = ETHERNET_BYTES + 20 + 8 + size  # IPv4, ICMP
    with (
        connected("ping") as veth,
        run_monitor(
            veth.right.namespace,
            folder,
            *("-i", veth.right.ifname, "--format", "json", "--direction", "both"),
        ) as monitor,
    ):
        words = ["ping", "-c", str(count), "-i", "0.01", "-s", str(size), SERVER]
        said = veth.left.namespace.run(words).stdout
        outcome = monitor.end()
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    packets = int(found[1]) + int(found[2])
    counted = outcome.counts("ICMP")
    return [
        Row("packets", PING, "packets", packets, counted[0]),
        Row(TOTAL, PING, "bytes", packets * frame_bytes, counted[1]),
        Row("payload", PING, "bytes", packets * size, counted[2]),
    ]
