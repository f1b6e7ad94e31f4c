"""What status says of an instance follows from its answer now."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.test_instances import make_record
from vtap.status import (
    Answer,
    State,
    Status,
    ask,
    check,
    judge,
    parse_answer,
    render_json,
    render_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTED = 1795377600.0  # make_record()'s 2026-11-22T20:00:00Z
METRICS = """\
vtap_build_info{version="0.1.0"} 1.0
vtap_packets_total{interface="eth0",protocol="TCP",rule="all"} 20.0
vtap_packets_total{interface="eth1",protocol="UDP",rule="all"} 3.0
vtap_packets_total{interface="eth0",protocol="TCP",rule="voice"} 20.0
vtap_interface_up{interface="eth0"} 0.0
vtap_interface_up{interface="eth1"} 1.0
vtap_sample_timestamp_seconds 1.7953776e+09
"""


def test_packets_are_those_of_the_rows_over_all_rules() -> None:
    """Of every interface and protocol, and none twice."""
    assert parse_answer(METRICS) == Answer(23, STARTED, up=True)


def test_before_the_first_interval_nothing_is_counted_yet() -> None:
    """Which is neither zero packets nor an interface that is down."""
    assert parse_answer('vtap_build_info{version="0"} 1\n') == Answer(None, None, up=True)


def test_another_program_s_answer_is_none() -> None:
    """Its port may be that of an instance that serves elsewhere."""
    with pytest.raises(ValueError, match="another program's metrics"):
        parse_answer("go_goroutines 7\n")


@pytest.mark.parametrize(
    ("answer", "after_s", "state"),
    [
        (Answer(23, STARTED, up=True), 0, State.MEASURING),
        (Answer(23, STARTED, up=True), 6, State.MEASURING),
        (Answer(23, STARTED, up=True), 6.1, State.FAILED),
        (Answer(23, STARTED, up=False), 0, State.FAILED),
        (Answer(None, None, up=True), 6, State.MEASURING),
        (Answer(None, None, up=True), 6.1, State.FAILED),
        (None, 0, State.UNREACHABLE),
    ],
)
def test_an_answer_s_age_and_interfaces_decide(
    answer: Answer | None, after_s: float, state: State
) -> None:
    """A sample is late one interval (1 s) and five seconds after it was taken."""
    assert judge(make_record(), answer, STARTED + after_s) == state


def test_a_longer_interval_is_waited_for() -> None:
    """-t 60: a sample of a minute ago is the last there is."""
    record = replace(make_record(), interval_s=60)

    assert judge(record, Answer(1, STARTED, up=True), STARTED + 65) == State.MEASURING
    assert judge(record, Answer(1, STARTED, up=True), STARTED + 65.1) == State.FAILED


def test_what_cannot_be_asked_yet_or_at_all() -> None:
    """An instance that compiles, and one without an endpoint."""
    assert judge(make_record(measuring=False), None, STARTED) == State.STARTING
    assert judge(make_record(port=None), None, STARTED) == State.MEASURING


def test_all_are_asked_at_once() -> None:
    """Each waits for the other's turn to begin: one after the other would never end."""
    both = threading.Barrier(2, timeout=10)

    def answer(_: object) -> Answer:
        both.wait()
        return Answer(1, STARTED, up=True)

    records = [(make_record(pid), None) for pid in (1, 2)]

    statuses = check(records, ask=answer, now=lambda: STARTED)

    assert [(one.record.pid, one.state) for one in statuses] == [
        (1, State.MEASURING), (2, State.MEASURING),
    ]  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(METRICS.encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def endpoint() -> Iterator[HTTPServer]:
    """Provide an endpoint that answers as an instance does."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_endpoint_is_asked_past_any_proxy(
    endpoint: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """http_proxy is for the internet, not for an instance of this host."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    record = make_record(port=endpoint.server_port)

    assert ask(record) == Answer(23, STARTED, up=True)


def test_an_error_is_no_answer(endpoint: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever text comes with it."""
    monkeypatch.setattr(_Handler, "status", 500)

    assert ask(make_record(port=endpoint.server_port)) is None


def test_an_endpoint_that_accepts_and_is_silent_is_not_waited_for() -> None:
    """A stopped process' kernel accepts connections on its behalf."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        assert ask(make_record(port=server.server_port), bound_s=0.1) is None
    assert ask(make_record(port=server.server_port), bound_s=0.1) is None


def test_json_has_null_for_what_does_not_apply() -> None:
    """And the names of the specification, in their order."""
    status = Status(make_record(port=None), State.STARTING, None, None)

    (found,) = json.loads(render_json([status]))

    assert found == {
        "pid": 4121,
        "port": None,
        "interfaces": ["eth0", "eth1"],
        "started": "2026-11-22T20:00:00+00:00",
        "packets": None,
        "state": "starting",
        "config": "/etc/vtap/edge.json",
        "log": None,
    }


def test_columns_are_as_wide_as_they_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers at the right, words at the left, nothing behind the last."""
    monkeypatch.setenv("TZ", "UTC")
    statuses = [
        Status(make_record(7), State.MEASURING, 123456789, Path("/run/vtap/logs/7.log")),
        Status(make_record(4121, None), State.UNREACHABLE, None, None),
    ]

    assert render_table(statuses) == (
        " PID  PORT  INTERFACES  SINCE                  PACKETS  STATE        CONFIGURATION        "
        "LOG\n"
        "   7  8080  eth0,eth1   2026-11-22 20:00:00  123456789  measuring    /etc/vtap/edge.json  "
        "/run/vtap/logs/7.log\n"
        "4121     -  eth0,eth1   2026-11-22 20:00:00          -  unreachable  /etc/vtap/edge.json  "
        "-"
    )
