"""The tools that vTap is compared with, and the seed of what is drawn at random."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.acceptance.faults import SEED
from tests.acceptance.tools import TOOLS
from tests.conftest import kernel_tests_required


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seed, so that a run can be repeated."""
    terminalreporter.write_line(f"tests/acceptance drew its sequence faults from VTAP_SEED={SEED}")


@pytest.fixture(scope="session")
def traffic_tools() -> None:
    """Skip a test where a tool is missing; fail where a skip would hide something."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        reason = f"tests/acceptance needs {', '.join(missing)}: run script/setup --dev"
        if kernel_tests_required(
            os.environ.get("CI", ""), os.environ.get("VTAP_REQUIRE_KERNEL", "")
        ):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
