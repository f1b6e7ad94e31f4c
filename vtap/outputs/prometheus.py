"""Reports -> Prometheus: a collector that yields from the latest reports, and its endpoint.

One scrape is one consistent sample: it is made of what one emit() left behind, at once.
"""

from __future__ import annotations

import errno
import socket
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

import vtap
from vtap.errors import InstanceError, PortBusyError
from vtap.measurements import MEASUREMENTS, Measurement, Value
from vtap.reports import Report, hold_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client.core import Metric

    from vtap.samples import Sample, StreamKey

STREAM_LABELS = ("interface", "rule", "protocol")

_SHUTDOWN_POLL_S = 0.1
"""How long the end of a run may wait for the server; socketserver's own is 0.5."""


class Latest(NamedTuple):
    """What one scrape shows."""

    values: Mapping[StreamKey, Mapping[str, Value | None]]
    sample: Sample


class Prometheus:
    """Serves /metrics from the latest reports; gauges hold the last finished interval."""

    def __init__(self, address: str, port: int) -> None:
        """Take the port; InstanceError says who or what is in the way."""
        self._latest: Latest | None = None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)  # type: ignore[arg-type]
        ProcessCollector(registry=registry)  # when it started, what it costs
        self._server = _bind(address, port, registry)
        self.address = address
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_SHUTDOWN_POLL_S,), daemon=True
        )

    @property
    def url(self) -> str:
        """Where it serves."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/metrics"

    def serve(self) -> None:
        """Answer requests from now on, in a thread."""
        self._thread.start()

    def emit(self, reports: Sequence[Report], sample: Sample) -> None:
        """Replace what the next scrape shows."""
        before = self._latest.values if self._latest else {}
        self._latest = Latest(
            {report.key: hold_values(before.get(report.key, {}), report) for report in reports},
            sample,
        )

    def close(self) -> None:
        """Stop serving and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def collect(self) -> Iterable[Metric]:
        """Yield every family of metrics; called by prometheus_client for each scrape."""
        return make_families(self._latest)


def make_families(latest: Latest | None) -> Iterable[Metric]:
    """Yield every family of metrics; None: nothing has been measured yet."""
    build = GaugeMetricFamily("vtap_build_info", "vTap's version", labels=["version"])
    build.add_metric([vtap.__version__], 1)
    yield build
    if latest is None:
        return
    yield from _collect_streams(latest)
    yield from _collect_interfaces(latest.sample)
    yield GaugeMetricFamily(
        "vtap_sample_timestamp_seconds",
        "When the values were read, since the epoch",
        value=latest.sample.wall_time,
    )
    if latest.sample.account is not None:
        yield CounterMetricFamily(
            "vtap_program_run_seconds",
            "Time spent in the program (kernel.bpf_stats_enabled)",
            value=latest.sample.account.run_seconds,
        )
        yield CounterMetricFamily(
            "vtap_program_runs",
            "Runs of the program (kernel.bpf_stats_enabled)",
            value=latest.sample.account.runs,
        )


def _collect_streams(latest: Latest) -> Iterable[Metric]:
    rows_of: dict[str, list[Measurement]] = {}
    for row in MEASUREMENTS:
        if row.metric:
            rows_of.setdefault(row.metric.name, []).append(row)
    for name, rows in rows_of.items():
        extra = [label for label, _ in rows[0].metric.labels] if rows[0].metric else []
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        help_text = "Sequence errors by kind" if extra else rows[0].help
        family = kind(name, help_text, labels=[*STREAM_LABELS, *extra])
        for row in rows:
            for key, values in latest.values.items():
                value = values[row.name]
                if value is not None and row.metric:
                    labels = [key.interface, key.rule, key.protocol.name]
                    family.add_metric([*labels, *(text for _, text in row.metric.labels)], value)
        yield family


def _collect_interfaces(sample: Sample) -> Iterable[Metric]:
    up = GaugeMetricFamily(
        "vtap_interface_up", "1: the interface is there, up and has a carrier", labels=["interface"]
    )
    unmatched = CounterMetricFamily(
        "vtap_unmatched_packets", "Packets that no rule matches", labels=["interface"]
    )
    unparsed = CounterMetricFamily(
        "vtap_unparsed_packets",
        "Frames that are in no stream, by reason",
        labels=["interface", "reason"],
    )
    merged = CounterMetricFamily(
        "vtap_merged_packets",
        "Packets that arrived merged into one frame with others, so that their times are lost",
        labels=["interface"],
    )
    for name, interface in sample.interfaces.items():
        up.add_metric([name], int(interface.up))
        unmatched.add_metric([name], interface.unmatched)
        merged.add_metric([name], interface.merged)
        for reason, count in interface.unparsed.items():
            unparsed.add_metric([name, reason], count)
    return (up, unmatched, unparsed, merged)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking for the host's name, which takes long where no DNS answers."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep standard error for what the user must know."""


def _bind(address: str, port: int, registry: CollectorRegistry) -> WSGIServer:
    server_class = _Server6 if ":" in address else _Server
    try:
        return make_server(
            address, port, make_wsgi_app(registry), server_class, handler_class=_QuietHandler
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortBusyError(address, port) from None
        reason = (error.strerror or str(error)).lower()
        cure = "choose another with -server_port or --server-address"
        message = f"cannot serve metrics on {address} port {port}: {reason}; {cure}"
        raise InstanceError(message) from None
