"""The Prometheus endpoint: names, types and labels that dashboards rely on."""

from __future__ import annotations

import os
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("prometheus_client", reason="python3-prometheus-client is not installed")

from prometheus_client.parser import text_string_to_metric_families

import vtap
from tests.support.samples import (
    WALL_TIME,
    interface_sample,
    make_report,
    make_sample,
    stream_key,
)
from vtap.errors import InstanceError
from vtap.measurements import MEASUREMENTS, Basis, Value
from vtap.outputs.prometheus import Prometheus
from vtap.rules import Protocol
from vtap.samples import UNPARSED_REASONS, ProgramAccount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TCP, UDP, ICMP = Protocol
TIMEOUT_S = 10
STREAM = {"interface": "veth1", "rule": "all", "protocol": "TCP"}
GAUGES = {
    "vtap_throughput_bytes_per_second": "throughput_bytes_per_second",
    "vtap_goodput_bytes_per_second": "goodput_bytes_per_second",
    "vtap_packets_per_second": "packets_per_second",
    "vtap_jitter_stddev_seconds": "jitter_stddev_seconds",
    "vtap_interarrival_mean_seconds": "interarrival_mean_seconds",
    "vtap_sequence_number": "sequence.number",
}
COUNTERS = {
    "vtap_packets_total": "packets_total",
    "vtap_bytes_total": "bytes_total",
    "vtap_payload_bytes_total": "payload_bytes_total",
    "vtap_sequence_packets_total": "sequence.packets",
}
# The client library's own, of the process.
PROCESS = {
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}
VALUES: dict[str, Value | None] = {
    **{name: number + 0.5 for number, name in enumerate(GAUGES.values())},
    **{name: number + 2**40 for number, name in enumerate(COUNTERS.values())},
    "sequence.number": 4294967295,
    "sequence.reverse": 1,
    "sequence.small": 2,
    "sequence.big": 3,
    "sequence.errors": 6,
}


class Scrape:
    """What one request returned, parsed by prometheus_client's own parser."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.types: dict[str, str] = {}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            suffix = "_total" if family.type == "counter" else ""
            self.types[family.name + suffix] = family.type
            for name, labels, value, *_ in family.samples:
                key = (name, frozenset(labels.items()))
                assert key not in self.samples
                self.samples[key] = value

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}


def scrape(server: Prometheus) -> Scrape:
    with urllib.request.urlopen(server.url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http
        return Scrape(answer.read().decode())


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Prometheus]:
    """Provide an endpoint that serves, on a port of its own."""
    created = Prometheus("127.0.0.1", 0)
    created.serve()
    yield created
    created.close()


@pytest.fixture
def server(endpoint: Prometheus) -> Prometheus:
    """Provide the endpoint as it is before the first sample."""
    endpoint._latest = None
    return endpoint


def emit(server: Prometheus, values: Mapping[str, Value | None] | None = None, **more: Any) -> None:
    server.emit([make_report(stream_key(TCP), values, **more)], make_sample())


def test_before_the_first_sample_there_is_only_the_version(server: Prometheus) -> None:
    """No series of vTap's starts with a made-up zero."""
    seen = scrape(server)

    assert seen.names() == {"vtap_build_info", *PROCESS}
    assert seen.value("vtap_build_info", version=vtap.__version__) == 1.0


def test_the_start_is_that_of_the_process(server: Prometheus) -> None:
    """What the dashboards mark as an instance's start, in seconds since the epoch."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()[19])
    boot_s = int(re.findall(r"btime (\d+)", Path("/proc/stat").read_text())[0])

    assert scrape(server).value("process_start_time_seconds") == pytest.approx(
        boot_s + ticks / os.sysconf("SC_CLK_TCK"), abs=0.01
    )


@pytest.mark.parametrize(("metric", "name"), [*GAUGES.items(), *COUNTERS.items()])
def test_a_stream_has_its_series(server: Prometheus, metric: str, name: str) -> None:
    """Named, typed and labelled as documented."""
    emit(server, VALUES)
    seen = scrape(server)

    assert seen.value(metric, **STREAM) == VALUES[name]
    assert seen.types[metric] == ("counter" if metric in COUNTERS else "gauge")


@pytest.mark.parametrize(("kind", "count"), [("reverse", 1), ("small", 2), ("big", 3)])
def test_sequence_errors_are_told_apart_by_kind(server: Prometheus, kind: str, count: int) -> None:
    """One counter, so that sum() makes the total of them."""
    emit(server, VALUES)
    seen = scrape(server)

    assert seen.value("vtap_sequence_errors_total", **STREAM, kind=kind) == count
    assert seen.types["vtap_sequence_errors_total"] == "counter"


def test_no_series_is_there_that_is_not_documented(server: Prometheus) -> None:
    """All names at once, with the kernel's account switched on."""
    sample = make_sample(account=ProgramAccount(1.5, 3))
    server.emit([make_report(stream_key(TCP), VALUES)], sample)

    assert scrape(server).names() == {
        *GAUGES, *COUNTERS, "vtap_sequence_errors_total", "vtap_build_info", "vtap_interface_up",
        "vtap_unmatched_packets_total", "vtap_unparsed_packets_total",
        "vtap_merged_packets_total", "vtap_sample_timestamp_seconds",
        "vtap_program_run_seconds_total", "vtap_program_runs_total", *PROCESS,
    }  # fmt: skip


def test_every_metric_of_the_table_is_one_of_these() -> None:
    """A row added to the table is added to this test."""
    named = {row.metric.name for row in MEASUREMENTS if row.metric}

    assert named == {*GAUGES, *COUNTERS, "vtap_sequence_errors_total"}


def test_every_family_has_a_help_text(server: Prometheus) -> None:
    """What a graph's tooltip shows."""
    server.emit([make_report()], make_sample(account=ProgramAccount(1.5, 3)))
    text = scrape(server).text
    helped = dict(
        line.split(" ", 3)[2:] for line in text.splitlines() if line.startswith("# HELP")
    )  # fmt: skip
    typed = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]

    assert set(typed) == set(helped)
    assert all(len(words) > 5 for words in helped.values())


@pytest.mark.parametrize("missing", [*GAUGES.values(), *COUNTERS.values(), "sequence.big"])
def test_what_is_not_measured_has_no_sample(server: Prometheus, missing: str) -> None:
    """None is no 0; the others stay."""
    emit(server, VALUES)
    before = scrape(server)
    emit(server, {**VALUES, missing: None})
    after = scrape(server)
    (gone,) = before.samples.keys() - after.samples.keys()

    (row,) = (row for row in MEASUREMENTS if row.name == missing and row.metric)
    assert row.metric is not None
    assert gone == (row.metric.name, frozenset({**STREAM, **dict(row.metric.labels)}.items()))
    assert not after.samples.keys() - before.samples.keys()


def test_a_measured_zero_has_a_sample(server: Prometheus) -> None:
    """Silence is a rate of 0."""
    emit(server, {"throughput_bytes_per_second": 0.0, "sequence.number": 0})
    seen = scrape(server)

    assert seen.value("vtap_throughput_bytes_per_second", **STREAM) == 0
    assert seen.value("vtap_sequence_number", **STREAM) == 0


def test_gauges_hold_the_last_finished_interval(server: Prometheus) -> None:
    """A jitter interval that ends leaves the rates as they were, and the other way round."""
    total = Basis.TOTAL
    emit(server, {"packets_per_second": 5, "packets_total": 5}, ended={Basis.INTERVAL, total})
    first = scrape(server)
    jitter = {"jitter_stddev_seconds": 0.25, "packets_total": 7}
    emit(server, jitter, ended={Basis.JITTER_INTERVAL, total})
    second = scrape(server)
    emit(server, {"packets_per_second": 6, "packets_total": 9}, ended={Basis.INTERVAL, total})
    third = scrape(server)

    names = ("vtap_packets_per_second", "vtap_jitter_stddev_seconds", "vtap_packets_total")
    assert [[seen.value(name, **STREAM) for name in names] for seen in (first, second, third)] == [
        [5, None, 5],
        [5, 0.25, 7],
        [6, 0.25, 9],
    ]


def test_a_finished_interval_without_a_value_ends_what_was_held(server: Prometheus) -> None:
    """Jitter of an interval without packets is not that of the one before."""
    emit(server, {"jitter_stddev_seconds": 0.25})
    emit(server, {"jitter_stddev_seconds": None}, ended={Basis.JITTER_INTERVAL, Basis.TOTAL})

    assert scrape(server).value("vtap_jitter_stddev_seconds", **STREAM) is None


def test_streams_are_told_apart_by_their_labels(server: Prometheus) -> None:
    """Interface, rule and protocol."""
    keys = [stream_key(p, i, r) for i in ("a", "b") for r in ("all", "voice") for p in Protocol]
    server.emit(
        [make_report(key, {"packets_total": number}) for number, key in enumerate(keys)],
        make_sample(),
    )
    seen = scrape(server)

    assert [
        seen.value("vtap_packets_total", interface=i, rule=r, protocol=p.name) for i, r, p in keys
    ] == list(range(12))


def test_an_odd_interface_name_is_escaped(server: Prometheus) -> None:
    """The kernel lets quotes and backslashes be in a name."""
    odd = 'a"b\\c'
    server.emit([make_report(stream_key(TCP, odd), {"packets_total": 5})], make_sample())

    assert scrape(server).value("vtap_packets_total", **{**STREAM, "interface": odd}) == 5


def test_an_interface_has_its_own_series(server: Prometheus) -> None:
    """Up or not, and what is in no stream: every reason, 0 too, so that rate() has a start."""
    interfaces = {
        "veth1": interface_sample(unmatched=3, merged=4, not_ip=5, truncated=6),
        "veth2": interface_sample(up=False),
    }
    server.emit([], make_sample(interfaces=interfaces))
    seen = scrape(server)

    assert [seen.value("vtap_interface_up", interface=name) for name in interfaces] == [1, 0]
    assert seen.value("vtap_unmatched_packets_total", interface="veth1") == 3
    assert seen.value("vtap_merged_packets_total", interface="veth1") == 4
    assert {
        reason: seen.value("vtap_unparsed_packets_total", interface="veth1", reason=reason)
        for reason in UNPARSED_REASONS
    } == {**dict.fromkeys(UNPARSED_REASONS, 0), "not_ip": 5, "truncated": 6}
    assert seen.types["vtap_interface_up"] == "gauge"
    assert seen.types["vtap_unparsed_packets_total"] == "counter"


def test_the_sample_says_its_time(server: Prometheus) -> None:
    """A session that hangs is seen by it."""
    server.emit([], make_sample(2.5))

    assert scrape(server).value("vtap_sample_timestamp_seconds") == WALL_TIME + 2.5


@pytest.mark.parametrize(
    ("account", "seen_as"), [(None, (None, None)), (ProgramAccount(0.25, 7), (0.25, 7))]
)
def test_the_kernels_account_is_there_where_it_is_switched_on(
    server: Prometheus, account: ProgramAccount | None, seen_as: tuple[float | None, float | None]
) -> None:
    """No made-up zero where it is not."""
    server.emit([], make_sample(account=account))
    seen = scrape(server)

    assert (
        seen.value("vtap_program_run_seconds_total"), seen.value("vtap_program_runs_total"),
    ) == seen_as  # fmt: skip


def test_a_scrape_is_one_sample_even_if_the_next_comes_during_it(server: Prometheus) -> None:
    """What is yielded first and last is of the same reading."""
    emit(server, {"packets_total": 1})
    families = iter(server.collect())
    first = [next(families) for _ in range(2)]  # the version, and the first family of streams
    server.emit([make_report(values={"packets_total": 2})], make_sample(9))
    samples = {
        sample.name: sample.value for family in [*first, *families] for sample in family.samples
    }

    assert samples["vtap_packets_total"] == 1
    assert samples["vtap_sample_timestamp_seconds"] == WALL_TIME
    assert scrape(server).value("vtap_packets_total", **STREAM) == 2


def test_a_port_that_is_taken_is_said_with_the_cure() -> None:
    """Exit status 4; the message is one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InstanceError) as caught:
            Prometheus("127.0.0.1", port)

    assert caught.value.exit_status == 4
    assert str(caught.value) == (
        f"cannot serve metrics on 127.0.0.1 port {port}: address already in use; "
        "choose another with -server_port or --server-address"
    )


def test_another_monitors_port_is_taken_too(server: Prometheus) -> None:
    """The port is taken from the making on, before anything is served."""
    waiting = Prometheus("127.0.0.1", 0)
    for port in (server.port, waiting.port):
        with pytest.raises(InstanceError, match="address already in use"):
            Prometheus("127.0.0.1", port)
    waiting.close()


def test_an_address_of_another_machine_is_said_with_the_cure() -> None:
    """192.0.2.0/24 is for documentation: no machine has it (RFC 5737)."""
    with pytest.raises(InstanceError) as caught:
        Prometheus("192.0.2.1", 0)

    assert str(caught.value) == (
        "cannot serve metrics on 192.0.2.1 port 0: cannot assign requested address; "
        "choose another with -server_port or --server-address"
    )


def test_it_serves_on_an_ipv6_address() -> None:
    """The URL has the brackets that it needs."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    server = Prometheus("::1", 0)
    server.serve()

    assert server.url == f"http://[::1]:{server.port}/metrics"
    assert scrape(server).value("vtap_build_info", version=vtap.__version__) == 1
    server.close()


def test_a_closed_endpoint_frees_its_port() -> None:
    """Another instance can have it at once, and nobody answers in between."""
    server = Prometheus("127.0.0.1", 0)
    server.serve()
    scrape(server)
    server.close()

    with pytest.raises(urllib.error.URLError):
        scrape(server)
    again = Prometheus("127.0.0.1", server.port)
    again.close()


def test_an_endpoint_that_never_served_can_be_closed() -> None:
    """As when the program does not load."""
    Prometheus("127.0.0.1", 0).close()


def test_a_request_leaves_no_line_on_standard_error(
    server: Prometheus, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is for what the user must know."""
    scrape(server)

    assert capfd.readouterr() == ("", "")


def test_no_host_name_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no DNS answers, asking for one holds up the start by many seconds."""

    def ask(*_: object) -> str:
        pytest.fail("asked for a host name")

    monkeypatch.setattr(socket, "getfqdn", ask)
    monkeypatch.setattr(socket, "gethostbyaddr", ask)
    server = Prometheus("127.0.0.1", 0)
    server.serve()
    scrape(server)
    server.close()
