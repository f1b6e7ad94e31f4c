"""Sequence errors are exactly those that were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.faults import SEED, make_streams
from tests.acceptance.reference import Counts, count_faults
from tests.acceptance.rows import wrong_rows
from tests.acceptance.sequence import (
    CARRIERS,
    Carrier,
    make_rows,
    run_sequence,
    run_trafgen_counters,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("traffic_tools")


@pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.name)
def test_faults_are_counted_exactly(carrier: Carrier, tmp_path: Path) -> None:
    """Every stream, deterministic or drawn at random, in every protocol: equality."""
    outcome = run_sequence(carrier, tmp_path)

    assert outcome.counted == outcome.expected
    assert outcome.last_numbers == outcome.sent_last
    assert wrong_rows(make_rows(outcome)) == []


def test_trafgens_own_counters(tmp_path: Path) -> None:
    """Steps of 1 to 4 with a reset, as trafgen counts and tcpdump captures them."""
    rows = run_trafgen_counters(tmp_path)

    assert len(rows) == 4 * 3
    assert wrong_rows(rows) == []


def test_the_reference_counts_the_worked_example() -> None:
    """The example in the specification of the counters, threshold 2."""
    assert count_faults([1, 2, 4, 5, 9, 8, 9, 9], 2) == Counts(8, 1, 2, 1)


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        (1, Counts(2, 0, 0, 0)),
        (0, Counts(2, 0, 1, 0)),
        (2, Counts(2, 0, 1, 0)),
        (3, Counts(2, 0, 0, 1)),
        (2**31 - 1, Counts(2, 0, 0, 1)),
        (2**31, Counts(2, 1, 0, 0)),
        (-1, Counts(2, 1, 0, 0)),
    ],
)
def test_the_reference_knows_every_kind(step: int, counts: Counts) -> None:
    """A step and its near misses, across the wrap of 32 bits."""
    assert count_faults([2**32 - 1, (2**32 - 1 + step) % 2**32], 2) == counts


def test_mixtures_have_every_kind_of_fault() -> None:
    """A mixture that drew no error of some kind would prove nothing about it."""
    for name, numbers in make_streams(SEED).items():
        if name.startswith("mixture"):
            assert min(count_faults(numbers, 2)) > 0, name
