"""Golden files: what generated text has to be, to the letter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).resolve().parent / "golden"


@pytest.fixture
def assert_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Provide a comparison of a text with tests/unit/golden/NAME; --update-golden rewrites it."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        if not path.exists():
            pytest.fail(f"{name} is missing, --update-golden writes it", pytrace=False)
        assert text == path.read_text(encoding="utf-8")

    return compare
