"""What compiles is a child that ends: what measures has no compiler in it, but its words."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vtap.compiler
from tests.support.monitor import call_monitor, run_monitor
from vtap.codegen import generate_source, make_rule_tables
from vtap.compiler import load_in_child
from vtap.config import Config
from vtap.errors import AttachError, CompileError, LoadError
from vtap.maps import count_possible_cpus
from vtap.program import Program
from vtap.rules import parse_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.netns import Veth

SOURCE = generate_source(Config(), 1)


def held() -> tuple[set[str], str]:
    """Return this process's descriptors and children."""
    descriptors = {path.name for path in Path("/proc/self/fd").iterdir()}
    return descriptors, Path("/proc/thread-self/children").read_text()


def count_descriptors() -> int:
    return len(held()[0])


def test_the_process_that_measures_has_no_compiler_in_it(veth: Veth, tmp_path: Path) -> None:
    """Neither BCC's library nor LLVM's is mapped, and no child is left."""
    with run_monitor(veth.right.namespace, tmp_path, "-i", veth.right.ifname) as monitor:
        mapped = Path(f"/proc/{monitor.pid}/maps").read_text()
        left = Path(f"/proc/{monitor.pid}/task/{monitor.pid}/children").read_text()
        monitor.end()

    assert "python3" in mapped
    assert [name for name in ("libbcc", "libLLVM", "libclang") if name in mapped] == []
    assert left == ""


def test_it_measures_with_every_stream_closed(veth: Veth, tmp_path: Path) -> None:
    """What is opened then does not become standard output."""
    outcome = call_monitor(
        tmp_path, "-i", veth.right.ifname, "--duration", "0.1", config={"LOG_DATA": True},
        namespace=veth.right.namespace, prefix=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"],
    )  # fmt: skip

    assert outcome == (0, "", "")


def test_descriptors_come_with_the_program_and_go_with_it() -> None:
    """The program, streams, orders and interfaces; their slots only where there are several."""
    before = held()
    one = Program(SOURCE, ("a",), attach=False)
    assert count_descriptors() - len(before[0]) == 4
    one.close()
    several = Program(generate_source(Config(), 3), ("a", "b", "c"), attach=False)
    assert count_descriptors() - len(before[0]) == 6
    several.close()
    several.close()
    assert held() == before


def test_what_the_maps_hold_is_named_by_the_c() -> None:
    """Members in the order of bpf/stream.h, a copy a CPU where each has its own."""
    loaded = load_in_child(SOURCE, {}, ())
    maps = loaded.maps

    assert list(maps.streams.members[:3]) == ["packets", "bytes", "payload_bytes"]
    assert list(maps.orders.members[:3]) == ["last_time_ns", "last_sequence", "padding[0]"]
    assert list(maps.interfaces.members[:3]) == ["unmatched", "merged", "unparsed[0]"]
    cpus = count_possible_cpus()
    assert [one.cpus for one in maps if one] == [cpus, 1, cpus]
    assert maps.streams.read(2) == dict.fromkeys(maps.streams.members, 0)
    with pytest.raises(FileNotFoundError):
        maps.streams.read(3)
    for fd in (loaded.fd, *(one.fd for one in maps if one)):
        os.close(fd)


def test_rules_are_in_their_tables_when_the_program_comes() -> None:
    """The parent gets no descriptor of them: the program holds them."""
    config = Config(rules=tuple(parse_rule(f"- - {port} - -") for port in range(9)))
    before = held()
    source, tables = generate_source(config, 1), make_rule_tables(config)
    program = Program(source, ("a",), rule_tables=tables, attach=False)

    assert count_descriptors() - len(before[0]) == 4
    program.close()
    assert held() == before


def test_what_clang_says_is_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    """One line, and nothing on standard error beside it."""
    reason = r"^cannot compile bpf/monitor\.c: .*error: .*'nonsense'"
    with pytest.raises(CompileError, match=reason):
        load_in_child(SOURCE.replace("int monitor(", "nonsense monitor("), {}, ())
    with pytest.raises(LoadError, match=r"^the kernel refused the program: "):
        load_in_child("int monitor(void *skb) { return *(int *)0; }", {}, ())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("at", "act", "reason"),
    [
        ("compile_program", lambda _: os.kill(os.getpid(), signal.SIGKILL), "ended by signal 9"),
        ("compile_program", lambda _: os._exit(0), "ended without a word"),
        ("compile_program", lambda _: {}["bcc"], "KeyError: 'bcc'"),
        ("_attach", lambda *_: os._exit(7), "ended without a word"),
    ],
    ids=["killed", "gone", "an exception", "gone after the first descriptors"],
)
def test_a_compiler_that_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, at: str, act: Callable[..., object], reason: str
) -> None:
    """Killed (out of memory, say), gone, or with what nobody foresaw; no descriptor is left."""
    before = held()
    monkeypatch.setattr(vtap.compiler, at, act)
    with pytest.raises(CompileError) as caught:
        load_in_child(SOURCE, {}, ("lo",))
    assert str(caught.value) == f"cannot compile bpf/monitor.c: the compiler failed: {reason}"
    assert held() == before


def test_an_interface_that_is_gone_by_then_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """After another one was attached to; no descriptor is left."""
    before = held()
    with pytest.raises(AttachError, match=r"^cannot attach to 'vtapnone': .*no such device$"):
        Program(generate_source(Config(), 2), ("lo", "vtapnone"))
    assert held() == before
    assert capfd.readouterr() == ("", "")
