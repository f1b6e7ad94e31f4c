"""What a test needs of this machine, beyond what its tier needs (tests/conftest.py)."""

from __future__ import annotations

import os
import shutil

import pytest


def require_tools(*tools: str) -> None:
    """Skip the module that asks where a tool is missing; fail it where no skip is allowed."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}; script/setup --dev installs it"
    if os.environ.get("CI") == "true" or os.environ.get("VTAP_REQUIRE_KERNEL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
