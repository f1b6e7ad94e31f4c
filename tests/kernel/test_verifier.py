"""The kernel accepts the program in every shape that a configuration can give it.

Loaded as what a monitor loads, a socket filter with the real clock. Covered: all 16 DISPLAYs with
PATTERN off, OFFSET alone and PATTERN, each with no rule and with a rule of every kind; each kind of
rule by itself, and looked up in a table, with everything measured; 1, 2 and 3 interfaces; every
direction; every kind of byte in a pattern and OFFSETs around the head's end. Not covered is the
product of these. Programs of the same text are loaded once.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, combinations, product
from typing import TYPE_CHECKING

import pytest

from tests.support.kernel import make_config
from vtap.codegen import generate_source
from vtap.compiler import compile_program, load_program
from vtap.config import Display
from vtap.shapes import MIN_ENTRIES

if TYPE_CHECKING:
    from pathlib import Path

DISPLAYS = list(chain.from_iterable(combinations(Display, n) for n in range(5)))
SEARCHES = [{}, {"offset": 4}, {"offset": 4, "pattern": 0xE7A5C318}]
MOST = {"offset": 4, "pattern": 0xE7A5C318}
RULES = {
    "none": [],
    "all": ["- - - - -"],
    "IPv4 host": ["10.0.0.1 - - - -"],
    "IPv4 prefix": ["- 10.0.0.0/9 - - -"],
    "IPv6 host": ["2001:db8::1 - - - -"],
    "IPv6 prefix": ["- 2001:db8:8000::/33 - - -"],
    "port": ["- - 53 - -"],
    "range": ["- - - 1000-2000 -"],
    "negation": ["!10.0.0.0/8 ![10.0.0.1,::1] !53 !1-1023 !TCP"],
    "list": ["[10.0.0.1,::1] - [53,5060-5070] - [TCP,UDP]"],
    "protocol": ["- - - - ICMP"],
    "table": [f"10.0.{n}.0/24 - - {n} UDP" for n in range(MIN_ENTRIES)],
    "table of all fields": [
        f"2001:db8::{n} 2001:db8::1:{n} {n} {n} TCP" for n in range(MIN_ENTRIES)
    ],
}
EVERY_KIND = [
    "[10.0.0.1,10.128.0.0/9,2001:db8:8000::/33] !::1 53 [1000-2000,7] [TCP,UDP]",
    "- - !5 - !ICMP",
]


def load_source(source: str) -> str:
    """Load a program and let it go; returns why not, in a process of its own."""
    try:
        bpf = compile_program(source)
        load_program(bpf)
    except Exception as error:  # noqa: BLE001 - the test that asked names it
        return f"{type(error).__name__}: {error}"
    bpf.cleanup()
    return ""


def sources() -> dict[str, str]:
    """Make every program, its text first: many switches change nothing in what is off already."""
    made: dict[str, str] = {}

    def add(
        name: str, *rules: str, interfaces: int = 1, direction: str = "in", **named: object
    ) -> None:
        source = generate_source(make_config(*rules, **named), interfaces, direction)  # type: ignore[arg-type]
        made.setdefault(source, name)

    for rules, display, search in product(([], EVERY_KIND), DISPLAYS, SEARCHES):
        names = "+".join(switch.value for switch in display) or "nothing"
        add(f"{names}, {search}, {len(rules)} rules", *rules, display=display, **search)
    for name, rules in RULES.items():
        add(f"rule: {name}", *rules, **MOST)
    for interfaces, direction in product((1, 2, 3), ("in", "out", "both")):
        add(
            f"{interfaces} interfaces, {direction}",
            *RULES["port"],
            interfaces=interfaces,
            direction=direction,
            **MOST,
        )
    for pattern in (0x00000000, 0xFFFFFFFE, 0x80808080, 0x01010101):
        add(f"pattern {pattern:#010x}", pattern=pattern, offset=65535)
    for offset in (0, 1, 5, 8, 9, 27, 28, 29, 65535):
        add(f"offset {offset}", offset=offset)
    for threshold in (0, 2**31 - 1):
        add(f"threshold {threshold}", threshold=threshold, offset=0)
    return made


@pytest.fixture(scope="module")
def refusals() -> dict[str, str]:
    """Load all, two at a time, in processes without the state of this one."""
    made = sources()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        reasons = list(pool.map(load_source, made, chunksize=4))
    return dict(zip(made.values(), reasons))


def test_every_program_loads(refusals: dict[str, str]) -> None:
    """Not one is refused."""
    assert {name: reason for name, reason in refusals.items() if reason} == {}


def test_every_shape_is_among_them() -> None:
    """What the module promises is what was loaded."""
    texts = list(sources())
    for switch in Display:
        assert {f"#define MEASURE_{switch.name}\n" in text for text in texts} == {True, False}
    shapes = {
        (
            frozenset(
                switch
                for switch in Display
                if f"MEASURE_{switch.name}\n" in text.split("compiler.h")[0]
            ),
            "#define SEQUENCE_OFFSET " in text,
            "#define SEQUENCE_PATTERN " in text,
            "#define RULES_READ_PORTS\n" in text,
        )
        for text in texts
    }
    # 8 DISPLAYs without sequence numbers, where nothing is searched, and 8 with, of 3 searches each
    assert len(shapes) >= 2 * (8 + 8 * 3)


def test_a_refusal_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that the kernel refuses is not taken for loaded; the verifier's word is kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = generate_source(make_config(), 1).replace(
        "\t__u32 interface_slot, segments;\n",
        "\t__u32 interface_slot, segments;\n\n\tif (skb->data)\n\t\treturn 0;\n",
    )

    assert "LoadError: the kernel refused the program" in load_source(source)
    (log,) = tmp_path.glob("vtap-*.log")
    assert "invalid bpf_context access" in log.read_text()
