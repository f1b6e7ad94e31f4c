"""Wait for a condition with a bound, instead of sleeping.

Knows nothing of vTap; a failure says what was seen last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Observed = TypeVar("Observed")

POLL_S = 0.01


def wait_until(
    condition: Callable[[], Observed],
    timeout_s: float,
    what: str,
    *,
    seen: Callable[[], object] | None = None,
) -> Observed:
    """Poll `condition` until it is true and return its value.

    Raises AssertionError after `timeout_s` seconds, with what `seen` returns (by default the last
    value of `condition`).
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        late = time.monotonic() >= deadline_s
        value = condition()
        if value:
            return value
        if late:
            last = value if seen is None else seen()
            message = f"waited {timeout_s} s for {what}; seen last: {last!r}"
            raise AssertionError(message)
        time.sleep(POLL_S)
