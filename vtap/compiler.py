"""C text -> a program in the kernel: the only module that imports bcc, in a child that ends.

The child compiles, loads, fills the rules' tables, attaches and hands the descriptors over: what
goes on measuring has neither LLVM's memory nor its code. Knows no rule and no measurement.
"""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from vtap.child import ChildError, Message, run_in_child
from vtap.errors import AttachError, CompileError, LoadError
from vtap.maps import Map, Maps, count_possible_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FUNCTION = b"monitor"
SOCKET_FILTER = 1
"""BPF_PROG_TYPE_SOCKET_FILTER of linux/bpf.h."""
MAPS = ("streams", "orders", "interfaces", "near_slots", "far_slots")
"""Those that user space reads or writes while it measures; the last two for several interfaces."""


class Loaded(NamedTuple):
    """A program in the kernel, by its descriptor, its maps, and its socket on each interface."""

    fd: int
    maps: Maps
    sockets: dict[str, socket.socket]


def load_in_child(
    source: str, rule_tables: Mapping[str, Mapping[bytes, int]], interfaces: Sequence[str]
) -> Loaded:
    """Compile, load and attach in a child process.

    CompileError, LoadError or AttachError says why not.
    """
    try:
        (described, (fd, *map_fds)), *attached = run_in_child(
            lambda send: _load(send, source, rule_tables, interfaces)
        )
    except ChildError as error:
        message = f"cannot compile bpf/monitor.c: the compiler failed: {error}"
        raise CompileError(message) from error
    maps = {
        name: Map(map_fd, members, cpus)
        for map_fd, (name, members, cpus) in zip(map_fds, described["maps"])
    }
    sockets = {said["interface"]: socket.socket(fileno=fd) for said, [fd] in attached}
    return Loaded(fd, Maps(**maps), sockets)


def _load(
    send: Callable[[Message], None],
    source: str,
    rule_tables: Mapping[str, Mapping[bytes, int]],
    interfaces: Sequence[str],
) -> None:
    """Send the program's and the maps' descriptors, then each interface's socket."""
    bpf = compile_program(source)
    function = load_program(bpf)
    for name, entries in rule_tables.items():
        fill_rule_table(bpf[name.encode()], entries)
    found = {name: one for name, one in find_maps(bpf)._asdict().items() if one}
    described = [[name, one.members, one.cpus] for name, one in found.items()]
    send(Message({"maps": described}, [function.fd, *(one.fd for one in found.values())]))
    for name in interfaces:
        send(Message({"interface": name}, [_attach(function, name)]))


def _attach(function: Any, name: str) -> int:
    """Return the socket's descriptor; AttachError says why there is none."""
    from bcc import BPF  # noqa: PLC0415 - only in the child

    try:
        with _captured_stderr():
            BPF.attach_raw_socket(function, name.encode())
    except Exception as error:
        # BCC raises nothing narrower.
        message = f"cannot attach to '{name}': {str(error).lower()}"
        raise AttachError(message) from error
    with suppress(OSError):  # what came between the socket's opening and its filter
        while os.read(function.sock, 1):
            pass
    return int(function.sock)


def find_maps(bpf: Any) -> Maps:
    """Return what of a compiled program's maps user space needs; bpf is BCC's object."""
    per_cpu = {"streams", "interfaces"}
    maps = {}
    for name in MAPS:
        try:
            table = bpf[name.encode()]
        except KeyError:
            continue
        cpus = count_possible_cpus() if name in per_cpu else 1
        maps[name] = Map(table.map_fd, _name_members(table.Leaf), cpus)
    return Maps(**maps)


def _name_members(leaf: Any) -> list[str]:
    """Return the names of a struct's 64-bit members; those of an array are name[0], name[1], ..."""
    struct = getattr(leaf, "_type_", leaf)  # of a per-CPU map: of one CPU's copy
    return [
        f"{name}[{index}]" if hasattr(kind, "_length_") else name
        for name, kind in getattr(struct, "_fields_", [])
        for index in range(getattr(kind, "_length_", 1))
    ]


def fill_rule_table(table: Any, entries: Mapping[bytes, int]) -> None:
    """Put a rule's number under each key of a table of codegen.make_rule_tables()."""
    for key, number in entries.items():
        table[table.Key.from_buffer_copy(key)] = table.Leaf(number)


def compile_program(source: str) -> Any:
    """Return the program and its maps as BCC's BPF object; CompileError says why not."""
    # BCC then takes bpf/include for the kernel's headers: the program uses none of the real ones.
    os.environ["BCC_KERNEL_SOURCE"] = str(Path(__file__).resolve().parent.parent / "bpf")
    from bcc import BPF  # noqa: PLC0415 - only in the child

    with _captured_stderr() as said:
        try:
            # A fresh list: BCC appends to the one it is given, or to its own default.
            bpf = BPF(text=source.encode(), cflags=[])
        except Exception as error:
            # BCC raises nothing narrower, and clang's reason is on standard error.
            message = f"cannot compile bpf/monitor.c: {_explain(said() or str(error), 'error:')}"
            raise CompileError(message) from error
    return bpf


def load_program(bpf: Any, program_type: int = SOCKET_FILTER) -> Any:
    """Load the program into the kernel, as BCC's function object; LoadError says why not.

    Another type than that of a socket filter is for tests: the kernel runs a BPF.SCHED_CLS on
    frames from their Ethernet header on.
    """
    with _captured_stderr() as said:
        try:
            return bpf.load_func(FUNCTION, program_type)
        except Exception as error:
            # BCC raises nothing narrower, and the verifier's reason is on standard error.
            message = (
                f"the kernel refused the program: {_explain(said() or str(error), str(error))}"
            )
            raise LoadError(message) from error


@contextmanager
def _captured_stderr() -> Iterator[Any]:
    """Hold back what libbcc writes to descriptor 2; yields a function that returns it."""
    with tempfile.TemporaryFile() as file:

        def said() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _explain(text: str, marker: str) -> str:
    """Return the line that says why, and where the whole text is kept."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if marker in line] or lines[-2:-1] or lines or [marker]
    descriptor, path = tempfile.mkstemp(prefix="vtap-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return f"{marked[0]}; all of it is in {path}"
