"""Jitter agrees with tcpdump's nanosecond times of the same packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.jitter import GAPS, Gap, make_rows, run_jitter
from tests.acceptance.rows import wrong_rows
from tests.acceptance.rulesets import PROTOCOLS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("traffic_tools")


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.name)
def test_mean_and_deviation_are_those_of_the_captured_times(gap: Gap, tmp_path: Path) -> None:
    """Both tools saw every packet; mean and deviation differ by 50 us or 1 % at most."""
    run = run_jitter(gap, tmp_path)

    assert run.captured == dict.fromkeys(PROTOCOLS, gap.packets)
    assert wrong_rows(make_rows(run)) == []
