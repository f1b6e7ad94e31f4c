"""Programs to compare: the C files beside this, and vTap's own.

Returns them loaded; knows nothing of how they are attached or timed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bcc import BPF

from tests.support.injector import compile_program
from vtap.codegen import generate_source, make_rule_tables
from vtap.compiler import compile_program as compile_monitor
from vtap.compiler import fill_rule_table, find_maps, load_program
from vtap.maps import write_slot

if TYPE_CHECKING:
    from vtap.config import Config

FOLDER = Path(__file__).resolve().parent
OFFSET = 4
PATTERN = 0xE7A5C318
THRESHOLD = 2


class Loaded(NamedTuple):
    """A program in the kernel, which lasts as long as bpf, and its maps: bpf[b"name"]."""

    bpf: Any
    fd: int


def load_file(
    name: str, *, program_type: int = BPF.SCHED_CLS, pattern: bool = False, without: str = ""
) -> Loaded:
    """Load bench/NAME.c; with pattern, it searches for PATTERN; without names a part left out."""
    cflags = [f"-I{FOLDER / 'include'}", f"-DSEQUENCE_THRESHOLD={THRESHOLD}"]
    cflags += [f"-DSEQUENCE_OFFSET={OFFSET}"]
    cflags += [f"-DSEQUENCE_PATTERN={PATTERN:#x}U"] if pattern else []
    cflags += [f"-DWITHOUT_{without}"] if without else []
    bpf = compile_program((FOLDER / f"{name}.c").read_bytes(), *cflags)
    return Loaded(bpf, bpf.load_func(b"monitor", program_type).fd)


def load_monitor(config: Config, *, interfaces: int = 1) -> Loaded:
    """Load vTap's program for a configuration, for test runs, whose frames come from `lo`."""
    bpf = compile_monitor(generate_source(config, interfaces))
    loaded = Loaded(bpf, load_program(bpf, BPF.SCHED_CLS).fd)
    for name, entries in make_rule_tables(config).items():
        fill_rule_table(bpf[name.encode()], entries)
    if interfaces > 1:
        slots = find_maps(bpf)
        for slot in range(interfaces):
            write_slot(slots, slot + 1, slot)
    return loaded
