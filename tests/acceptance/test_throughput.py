"""Throughput agrees with the interface's counters, trafgen, bmon and tcpdump."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.rows import wrong_rows
from tests.acceptance.rulesets import RULE_SETS
from tests.acceptance.throughput import (
    PACES,
    WHOLE_RUN,
    Run,
    expected_bytes,
    make_rows,
    run_throughput,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.throughput import Pace


pytestmark = pytest.mark.usefixtures("traffic_tools")


@pytest.fixture(scope="module", params=PACES, ids=lambda pace: pace.name)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Provide one measured run of each pace."""
    folder: Path = tmp_path_factory.mktemp("throughput")
    pace: Pace = request.param
    return run_throughput(pace, folder)


def test_the_interface_received_what_was_sent(run: Run) -> None:
    """The truth itself: the interface's own counters are trafgen's packets, and nothing else."""
    assert run.interface_packets == run.pace.packets
    assert run.interface_bytes == sum(expected_bytes(RULE_SETS[0], run.pace).values())


def test_totals_are_exact(run: Run) -> None:
    """Every rule set's bytes are those of the frames it matches, each protocol for itself; the
    set that matches everything has the interface's own.
    """
    assert run.totals == {rules.name: expected_bytes(rules, run.pace) for rules in RULE_SETS}
    assert sum(run.totals["everything"].values()) == run.interface_bytes
    assert wrong_rows(make_rows(run)) == []


def test_tcpdump_and_tshark_match_the_same_packets(run: Run) -> None:
    """What a rule set matches is what tshark's filter for it lets through, byte for byte, where
    there was a capture.
    """
    totals = {name: sum(protocols.values()) for name, protocols in run.totals.items()}
    assert run.captured == (totals if run.pace.captured else {})


def test_the_pipe_adds_up_to_the_total(run: Run) -> None:
    """The rates that -test_throughput prints are the traffic, whole run."""
    for name, summed in run.pipes.items():
        assert summed == pytest.approx(sum(run.totals[name].values()), rel=WHOLE_RUN), name


def test_bmon_agrees(run: Run) -> None:
    """bmon's rates, its filter undone, are the same bytes as vTap's, whole run."""
    assert run.bmon_bytes == pytest.approx(run.pipes["everything"], rel=WHOLE_RUN)
    assert run.bmon_bytes == pytest.approx(run.interface_bytes, rel=WHOLE_RUN)
