"""What is sent is what is counted, and the four outputs say the same."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING, Any, Callable

import pytest

from tests.support.frames import ethernet, icmp, icmpv6, ipv4, ipv6, send_frames, tcp, udp
from tests.support.injector import Injector
from tests.support.monitor import Outcome, run_monitor
from tests.support.netns import interface_statistics
from vtap.outputs.console import PROTOCOL_ORDER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.netns import Veth

PROTOCOLS = [protocol.name for protocol in PROTOCOL_ORDER]

# The contract's worked example: threshold 2, small at 4 and at the second 9, big at the first 9,
# reverse at 8.
WORKED = [1, 2, 4, 5, 9, 8, 9, 9]
WORKED_SEQUENCE = {"number": 9, "packets": 8, "reverse": 1, "small": 2, "big": 1, "errors": 4}


def numbered(number: int, length: int) -> bytes:
    """Make a payload with its number where CONFIG says: 4 bytes after the start."""
    return bytes(4) + struct.pack("!I", number) + bytes(length - 8)


# 8 numbers of TCP over IPv4 and 8 of UDP over IPv6, 24 of ICMP over both; what is padding or no IP.
TCP_FRAMES = [ethernet(ipv4(tcp(bytes(101), seq=number))) for number in WORKED]
UDP_FRAMES = [ethernet(ipv6(udp(numbered(number, 202)))) for number in WORKED]
ICMP_FRAMES = [
    ethernet(network)
    for number in range(2**32 - 6, 2**32 + 6)
    for network in (
        ipv4(icmp(numbered(number & 0xFFFFFFFF, 303))),
        ipv6(icmpv6(numbered(number + 1 & 0xFFFFFFFF, 404))),
    )
]
PADDED = [ethernet(ipv4(tcp(b"\1", seq=number)), pad_to=60) for number in range(10, 15)]
ARP = ethernet(bytes(46), ethertype=0x0806)
FRAMES = [*TCP_FRAMES, ARP, *UDP_FRAMES, *PADDED, *ICMP_FRAMES]

TRUTH = {
    "TCP": (8 + 5, 8 * (14 + 20 + 20 + 101) + 5 * 60, 8 * 101 + 5 * 1),
    "UDP": (8, 8 * (14 + 40 + 8 + 202), 8 * 202),
    "ICMP": (24, 12 * (14 + 20 + 8 + 303) + 12 * (14 + 40 + 8 + 404), 12 * 303 + 12 * 404),
}
# ICMP: n, n+1, n+1, n+2, n+2, ...: after each IPv4 number comes one more, then the same again.
SEQUENCES = {
    "TCP": {**WORKED_SEQUENCE, "number": 14, "packets": 13},
    "UDP": WORKED_SEQUENCE,
    "ICMP": {"number": 6, "packets": 24, "reverse": 0, "small": 11, "big": 0, "errors": 11},
}


def send_by_socket(veth: Veth, _folder: Path) -> None:
    """Send through a packet socket of the other end."""
    send_frames(veth.left, FRAMES)


def send_by_trafgen(veth: Veth, folder: Path) -> None:
    """Send with trafgen, byte by byte."""
    packets = ["{ " + ", ".join(f"0x{byte:02x}" for byte in frame) + " }" for frame in FRAMES]
    (folder / "frames.cfg").write_text("\n".join(packets) + "\n")
    veth.left.namespace.run(
        f"trafgen --in {folder}/frames.cfg --out {veth.left.ifname} --cpus 1 --no-sock-mem"
        f" --num {len(FRAMES)}".split()
    )


def inject(veth: Veth, _folder: Path) -> None:
    """Let the kernel have each frame as if received."""
    with Injector(veth.right) as injector:
        for frame in FRAMES:
            injector.inject(frame, 1)


@pytest.mark.parametrize(
    "send",
    [
        send_by_socket,
        pytest.param(
            send_by_trafgen,
            marks=pytest.mark.skipif(shutil.which("trafgen") is None, reason="needs trafgen"),
        ),
        inject,
    ],
)
def test_what_is_sent_is_counted(
    veth: Veth, tmp_path: Path, send: Callable[[Veth, Path], None]
) -> None:
    """Packets, bytes, payload bytes and sequence counts equal the truth, whoever sends."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "-t", "0.1", "--format", "json"
    ) as monitor:
        send(veth, tmp_path)
        outcome = monitor.end()

    assert outcome.status == 0
    assert {protocol: outcome.counts(protocol) for protocol in PROTOCOLS} == TRUTH
    assert {p: outcome.total(p)["sequence"] for p in PROTOCOLS} == SEQUENCES
    assert f"{veth.right.ifname}: 45 packets counted, 1 not ip\n" in outcome.stderr
    if send is not inject:  # whose frames the driver does not see
        received = interface_statistics(veth.right.namespace, veth.right.ifname)
        assert received["rx_packets"] == sum(packets for packets, _, _ in TRUTH.values()) + 1
        assert received["rx_bytes"] == sum(total for _, total, _ in TRUTH.values()) + len(ARP)


def test_intervals_add_up_to_the_totals(veth: Veth, tmp_path: Path) -> None:
    """No packet is in two intervals or in none, while frames come all the time."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "-t", "0.05", "--format", "json"
    ) as monitor:
        send_frames(veth.left, FRAMES * 20, delays_s=[0.0005] * 20 * len(FRAMES))
        outcome = monitor.end()

    for protocol in PROTOCOLS:
        rows = [row for row in outcome.rows(protocol=protocol) if row["packets"] is not None]
        assert sum(row["packets"] > 0 for row in rows) > 1
        for key in ("packets", "bytes", "payload_bytes"):
            assert sum(row[key] for row in rows) == rows[-1][f"{key}_total"]
        assert outcome.counts(protocol) == tuple(20 * count for count in TRUTH[protocol])


def rendered(row: dict[str, Any]) -> list[str]:
    """Make the log's columns of one protocol from its JSON line; 0 is what was not measured."""
    sequence = row["sequence"]
    return [
        f"{row['throughput_bytes_per_second']:.4f}",
        f"{row['goodput_bytes_per_second']:.4f}",
        f"{(row['interarrival_mean_seconds'] or 0) * 1e3:.4f}",
        f"{(row['jitter_stddev_seconds'] or 0) * 1e3:.4f}",
        str(sequence["number"] or 0),
        *(str(sequence[key]) for key in ("packets", "reverse", "small", "big", "errors")),
    ]


def log_rows(folder: Path) -> list[list[str]]:
    """Read the values of each row of the one log file."""
    (path,) = folder.glob("monitor_*.log")
    heading, empty, *rows = path.read_text().splitlines()
    assert heading.count(" | ") == 30
    assert empty == ""
    return [row.split(" | ")[1:] for row in rows]


def text_values(stdout: str) -> list[list[str]]:
    """Read the blocks of the text console as rows of the log's columns."""
    rows = []
    for block in stdout.split("Jitter[STDDEV] TCP: ")[1:]:
        text = "Jitter[STDDEV] TCP: " + block
        throughput, goodput = text.split("GOODPUT")
        rows.append(
            [
                value
                for protocol in PROTOCOLS
                for value in (
                    word_after(throughput, f"{protocol} bitrate [MBytes/sec]:"),
                    word_after(goodput, f"{protocol} bitrate [MBytes/sec]:"),
                    word_after(text, f"Average {protocol}:"),
                    word_after(text, f"Jitter[STDDEV] {protocol}:"),
                    *(line.split()[1] for line in lines_after(text, f"\n{protocol}\n", 6)),
                )
            ]
        )
    return rows


def word_after(text: str, words: str) -> str:
    """Take the word that follows."""
    return text.split(words)[1].split()[0]


def lines_after(text: str, words: str, count: int) -> list[str]:
    """Take the lines that follow."""
    return text.split(words)[1].splitlines()[:count]


def labels(ifname: str, protocol: str, **extra: str) -> str:
    """Write the labels of a stream's sample."""
    pairs = {"interface": ifname, "rule": "all", "protocol": protocol, **extra}
    return "{" + ",".join(f'{key}="{value}"' for key, value in sorted(pairs.items())) + "}"


def metrics_of(row: dict[str, Any], ifname: str) -> dict[str, float]:
    """Make the endpoint's samples of a stream from its JSON line; none for what is null."""
    protocol, sequence = row["protocol"], row["sequence"]
    own = labels(ifname, protocol)
    values = {
        f"vtap_{name}{own}": row[name]
        for name in (
            "throughput_bytes_per_second",
            "goodput_bytes_per_second",
            "packets_per_second",
            "jitter_stddev_seconds",
            "interarrival_mean_seconds",
            "packets_total",
            "bytes_total",
            "payload_bytes_total",
        )
    }
    values[f"vtap_sequence_number{own}"] = sequence["number"]
    values[f"vtap_sequence_packets_total{own}"] = sequence["packets"]
    for kind in ("reverse", "small", "big"):
        name = f"vtap_sequence_errors_total{labels(ifname, protocol, kind=kind)}"
        values[name] = sequence[kind]
    return {name: float(value) for name, value in values.items() if value is not None}


def test_json_log_and_prometheus_agree(veth: Veth, tmp_path: Path) -> None:
    """Every row of the log is the JSON line of its time, and so is every sample of a scrape."""
    ifname = veth.right.ifname
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", ifname, "-t", "0.2", "-j", "0.2", "--format", "json",
        config={"LOG_DATA": True, "MONITOR_SERVER": True},
    ) as monitor:  # fmt: skip
        send_frames(veth.left, FRAMES, delays_s=[0.01] * len(FRAMES))
        scraped = monitor.wait_for_sample(f"vtap_packets_total{labels(ifname, 'ICMP')}", 24)
        outcome = monitor.end()

    lines = list(zip(*(outcome.rows(protocol=protocol) for protocol in PROTOCOLS)))
    assert log_rows(tmp_path) == [[v for row in line for v in rendered(row)] for line in lines]
    (line,) = [line for line in lines if is_of(line[0], scraped["vtap_sample_timestamp_seconds"])]
    of_streams = {name: value for name, value in scraped.items() if 'rule="all"' in name}
    assert of_streams == {k: v for row in line for k, v in metrics_of(row, ifname).items()}
    assert scraped[f'vtap_unparsed_packets_total{{interface="{ifname}",reason="not_ip"}}'] == 1


def is_of(row: dict[str, Any], wall_time: float) -> bool:
    """Tell whether a JSON line, which shows milliseconds, is of this time."""
    shown: str = row["time"]
    seconds = float(shown[17:-1])
    return abs(wall_time % 60 - seconds) < 0.001


def test_text_and_log_agree(veth: Veth, tmp_path: Path) -> None:
    """Every block of the console is a row of the log: rates in millions, the rest to the digit."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "-t", "0.2", "-j", "0.2",
        config={"LOG_DATA": True},
    ) as monitor:  # fmt: skip
        send_frames(veth.left, FRAMES, delays_s=[0.01] * len(FRAMES))
        outcome = monitor.end()

    logged, shown = log_rows(tmp_path), text_values(outcome.stdout)
    assert len(logged) == len(shown) > 1
    for log_row, text_row in zip(logged, shown):
        for column, (log_value, text_value) in enumerate(zip(log_row, text_row)):
            if column % 10 < 2:  # half of the last decimal, and what the log rounded
                assert float(text_value) == pytest.approx(float(log_value) / 1e6, abs=0.0000501)
            else:
                assert text_value == log_value
    assert [row[5] for row in shown[-1:]] == ["13"]
    assert_totals_in_text(outcome)


def assert_totals_in_text(outcome: Outcome) -> None:
    """The last block shows the truth about sequence numbers."""
    last = text_values(outcome.stdout)[-1]
    for index, protocol in enumerate(PROTOCOLS):
        expected = [str(value) for value in SEQUENCES[protocol].values()]
        assert last[10 * index + 4 : 10 * index + 10] == expected
