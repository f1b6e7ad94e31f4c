"""Streams of sequence numbers with known faults: deterministic ones, and mixtures from a seed."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKETS = 400
RESET_AT = 100
MIXTURES = 3

SEED = int(os.environ.get("VTAP_SEED") or random.SystemRandom().randrange(1 << 32))
"""Of the mixtures; printed by the tests and in the table, VTAP_SEED=... repeats it."""


def make_streams(seed: int) -> dict[str, list[int]]:
    """Return the numbers of each stream, in the order of sending, by what is wrong with them."""
    steps = {
        f"steps of {step}, reset at {RESET_AT}": [
            number * step % RESET_AT for number in range(PACKETS)
        ]
        for step in (1, 2, 3, 4)
    }
    wraps = {
        f"wrap of {bits} bits": [
            (2**bits - PACKETS // 2 + number) % 2**bits for number in range(PACKETS)
        ]
        for bits in (8, 16, 32)
    }
    faults = {
        "every 7th twice": list(_repeat_some(range(PACKETS))),
        "every 10th pair swapped": _swap_pairs(range(PACKETS)),
        "bursts of 1 to 20 lost": _lose_bursts(range(2 * PACKETS)),
        "the worked example of the specification": [1, 2, 4, 5, 9, 8, 9, 9],
    }
    mixtures = {
        f"mixture, seed {seed + index}": mix_faults(seed + index) for index in range(MIXTURES)
    }
    return {**steps, **wraps, **faults, **mixtures}


def _repeat_some(numbers: Iterable[int]) -> Iterable[int]:
    for number in numbers:
        yield number
        if number % 7 == 6:
            yield number


def _swap_pairs(numbers: Iterable[int]) -> list[int]:
    swapped = list(numbers)
    for index in range(8, len(swapped) - 1, 10):
        swapped[index], swapped[index + 1] = swapped[index + 1], swapped[index]
    return swapped


def _lose_bursts(numbers: Iterable[int]) -> list[int]:
    """Lose 1, then 2, ... up to 20 numbers at once, with 10 in between."""
    left = list(numbers)
    for burst in range(1, 21):
        start = burst * 10
        del left[start : start + burst]
    return left


def mix_faults(seed: int) -> list[int]:
    """Draw faults of every kind, near the wrap of 32 bits too, each as likely as the others."""
    draw = random.Random(seed)
    number = draw.choice([0, draw.randrange(1 << 32), (1 << 32) - PACKETS // 2])
    numbers: list[int] = []
    while len(numbers) < PACKETS:
        numbers.append(number % (1 << 32))
        fault = draw.choice(["none"] * 5 + ["twice", "swap", "small", "big", "back", "anywhere"])
        if fault == "twice":
            numbers.append(numbers[-1])
        elif fault == "swap":
            numbers += [(number + 2) % (1 << 32), (number + 1) % (1 << 32)]
            number += 2
        elif fault == "anywhere":
            number = draw.randrange(1 << 32)
        number += {"small": draw.randint(2, 4), "big": draw.randint(5, 1 << 31), "back": -9}.get(
            fault, 1
        )
    return numbers
