"""What a stream of sequence numbers should be counted as, found without vTap's way of counting.

vTap subtracts 32-bit numbers and looks at the sign. Here each step is how far one would have to
turn a ring of 2^32 numbers forward; more than half a turn is a step back (RFC 1982 section 3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

RING = 1 << 32


class Counts(NamedTuple):
    """Packets with a number, and the errors of each kind."""

    packets: int
    reverse: int
    small: int
    big: int


def count_faults(numbers: Sequence[int], threshold: int) -> Counts:
    """Judge every number by the one before; the first is never an error."""
    turns = [(after - before) % RING for before, after in zip(numbers, numbers[1:])]
    back = {turn for turn in turns if turn >= RING // 2}
    near = {0, *range(2, threshold + 1)}
    return Counts(
        packets=len(numbers),
        reverse=sum(turn in back for turn in turns),
        small=sum(turn in near for turn in turns),
        big=sum(turn not in back and turn not in near and turn != 1 for turn in turns),
    )
