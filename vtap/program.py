"""Compile, load, attach, read, detach: the only module that imports bcc.

Takes C text and interface names, returns Samples; knows no rule and no measurement.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

# BCC then takes bpf/include for the kernel's headers: the program uses none of the real ones.
os.environ["BCC_KERNEL_SOURCE"] = str(Path(__file__).resolve().parent.parent / "bpf")

from bcc import BPF

from vtap.errors import AttachError, CompileError, LoadError
from vtap.interfaces import find_interface
from vtap.maps import fill_rule_table, read_interface, read_streams, require_reasons
from vtap.rules import ALL_RULES
from vtap.samples import NS_PER_SECOND, ProgramAccount, Sample, layout_streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

FUNCTION = b"monitor"

_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_PROMISC = 1
_BPF_STATS_ENABLED = Path("/proc/sys/kernel/bpf_stats_enabled")


class Program:
    """The program in the kernel, attached to interfaces while the context lasts.

    An interface that vanishes is reported down, and attached again when it returns.
    """

    def __init__(
        self,
        source: str,
        interfaces: tuple[str, ...],
        *,
        rule_tables: Mapping[str, Mapping[bytes, int]] | None = None,
        promiscuous: bool = True,
    ) -> None:
        """Compile and load; CompileError or LoadError says why not."""
        self.interfaces = interfaces
        self.layout = layout_streams(interfaces, (ALL_RULES,))
        self._promiscuous = promiscuous
        self._bpf = compile_program(source)
        self._function = load_program(self._bpf)
        for name, entries in (rule_tables or {}).items():
            fill_rule_table(self._bpf[name.encode()], entries)
        self._sockets: dict[str, tuple[int, socket.socket]] = {}

    def __enter__(self) -> Program:  # noqa: PYI034 - typing.Self is Python 3.11
        """Attach to every interface; AttachError says why not."""
        try:
            for slot, name in enumerate(self.interfaces):
                self._attach(slot, name)
        except AttachError:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Detach from every interface."""
        self.close()

    def close(self) -> None:
        """Detach; the promiscuous mode ends with the sockets."""
        for _, attached in self._sockets.values():
            attached.close()
        self._sockets.clear()
        self._bpf.cleanup()

    def _attach(self, slot: int, name: str) -> None:
        interface = find_interface(name)
        if interface is None:
            message = f"cannot attach to '{name}': no such interface"
            raise AttachError(message)
        try:
            BPF.attach_raw_socket(self._function, name.encode())
            # BCC keeps one descriptor a function; another interface's would be lost.
            attached = socket.socket(fileno=self._function.sock)
            self._sockets[name] = (interface.ifindex, attached)
            if self._promiscuous:
                _join_promiscuous(attached, interface.ifindex)
            if len(self.interfaces) > 1:
                slots = self._bpf[b"interface_slots"]
                slots[slots.Key(interface.ifindex)] = slots.Leaf(slot)
        except Exception as error:
            # BCC raises nothing narrower.
            self._detach(name)
            message = f"cannot attach to '{name}': {str(error).lower()}"
            raise AttachError(message) from error
        _drain(attached)

    def _detach(self, name: str) -> None:
        """Let go of the interface, if it was attached, and of its slot, which a new one needs."""
        ifindex, attached = self._sockets.pop(name, (0, None))
        if attached is None:
            return
        attached.close()
        if len(self.interfaces) > 1:
            slots = self._bpf[b"interface_slots"]
            with suppress(KeyError):
                del slots[slots.Key(ifindex)]

    def _follow_interfaces(self) -> dict[str, bool]:
        """Attach again to what was made anew; tells which interfaces are up and attached."""
        for name, (_, attached) in list(self._sockets.items()):
            # The kernel unbinds the socket of a deleted interface: the same name and number may
            # be another one's by now.
            if attached.getsockname()[0] != name:
                self._detach(name)
        return {name: self._is_up(slot, name) for slot, name in enumerate(self.interfaces)}

    def _is_up(self, slot: int, name: str) -> bool:
        interface = find_interface(name)
        if interface is None or not interface.has_ethernet_header:
            return False
        if name not in self._sockets:
            try:
                self._attach(slot, name)
            except AttachError:
                return False
        return interface.running

    def read(self) -> Sample:
        """Read every counter, added up over the CPUs."""
        up = self._follow_interfaces()
        time_ns = time.monotonic_ns()
        wall_time = time.time()
        return Sample(
            time_ns,
            wall_time,
            read_streams(self._bpf, self.layout),
            {
                name: read_interface(self._bpf, slot, up=up[name])
                for slot, name in enumerate(self.interfaces)
            },
            self._read_account(),
        )

    def _read_account(self) -> ProgramAccount | None:
        """Read the kernel's account from /proc (bpf_prog_show_fdinfo, kernel/bpf/syscall.c)."""
        try:
            if _BPF_STATS_ENABLED.read_text(encoding="ascii").strip() == "0":
                return None
            text = Path(f"/proc/self/fdinfo/{self._function.fd}").read_text(encoding="ascii")
            facts = dict(line.split(":", 1) for line in text.splitlines())
            return ProgramAccount(int(facts["run_time_ns"]) / NS_PER_SECOND, int(facts["run_cnt"]))
        except (OSError, KeyError):
            return None


def compile_program(source: str) -> Any:
    """Return the program and its maps as BCC's BPF object; CompileError says why not."""
    with _captured_stderr() as said:
        try:
            # A fresh list: BCC appends to the one it is given, or to its own default.
            bpf = BPF(text=source.encode(), cflags=[])
        except Exception as error:
            # BCC raises nothing narrower, and clang's reason is on standard error.
            message = f"cannot compile bpf/monitor.c: {_explain(said() or str(error), 'error:')}"
            raise CompileError(message) from error
    require_reasons(bpf)
    return bpf


def load_program(bpf: Any, program_type: int = BPF.SOCKET_FILTER) -> Any:
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


def _join_promiscuous(attached: socket.socket, ifindex: int) -> None:
    """Have the interface receive frames for others too (struct packet_mreq, packet(7))."""
    membership = struct.pack("iHH8s", ifindex, _PACKET_MR_PROMISC, 0, b"")
    attached.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)


def _drain(attached: socket.socket) -> None:
    """Throw away what came between the socket's opening and its filter."""
    attached.settimeout(0)
    try:
        while True:
            attached.recv(1)
    except OSError:
        return
