"""A program while it measures: read, followed to an interface that comes back, detached.

Takes C text and interface names, returns Samples; knows no rule and no measurement, and leaves the
compiler, and attaching first, to compiler.py.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vtap.compiler import load_in_child
from vtap.errors import AttachError, VtapError
from vtap.interfaces import find_interface
from vtap.maps import read_interface, read_streams, require_reasons, write_slot
from vtap.rules import ALL_RULES
from vtap.samples import NS_PER_SECOND, ProgramAccount, Sample, layout_streams

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_ETH_P_ALL = 0x0003
_ETH_P_NONE = 0xFFFF
"""Reserved, which no frame has (IANA, IEEE 802 Numbers): a socket bound to it receives nothing."""
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_DROP_MEMBERSHIP = 2
_PACKET_IGNORE_OUTGOING = 23
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
        outgoing: bool = True,
        attach: bool = True,
    ) -> None:
        """Compile, load, attach; CompileError, LoadError or AttachError says why not.

        Not outgoing: the program does not run for what the interfaces send.
        """
        self.interfaces = interfaces
        self.layout = layout_streams(interfaces, (ALL_RULES,))
        self._promiscuous = promiscuous
        self._bound: dict[str, int] = {}
        self._fd, self._maps, self._sockets = load_in_child(
            source, rule_tables or {}, interfaces if attach else ()
        )
        self._descriptors = [self._fd, *(one.fd for one in self._maps if one)]
        try:
            require_reasons(self._maps)
            for name, attached in self._sockets.items():
                attached.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, not outgoing)
                self._join(name)
        except VtapError:
            self.close()
            raise

    def __enter__(self) -> Program:  # noqa: PYI034 - typing.Self is Python 3.11
        """Return the program."""
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
        for attached in self._sockets.values():
            attached.close()
        for fd in self._descriptors:
            os.close(fd)
        self._sockets = {}
        self._descriptors = []

    def _join(self, name: str) -> None:
        """Tell the program and the kernel of the interface that has this name now."""
        interface = find_interface(name)
        if interface is None:
            message = f"cannot attach to '{name}': no such interface"
            raise AttachError(message)
        try:
            write_slot(self._maps, interface.ifindex, self.interfaces.index(name))
            # The socket keeps its filter, and binding needs no capability (net/packet/af_packet.c).
            self._sockets[name].bind((name, _ETH_P_ALL))
            self._set_promiscuous(name, _PACKET_ADD_MEMBERSHIP, interface.ifindex)
        except OSError as error:
            message = f"cannot attach to '{name}': {(error.strerror or str(error)).lower()}"
            raise AttachError(message) from error
        self._bound[name] = interface.ifindex

    def _set_promiscuous(self, name: str, option: int, ifindex: int) -> None:
        """Have the interface receive frames for others too (struct packet_mreq, packet(7))."""
        if self._promiscuous:
            membership = struct.pack("iHH8s", ifindex, _PACKET_MR_PROMISC, 0, b"")
            self._sockets[name].setsockopt(_SOL_PACKET, option, membership)

    def _leave(self, name: str) -> None:
        """Let go of the interface that had this name, and of its slot, which a new one needs."""
        ifindex = self._bound[name]
        renamed = self._sockets[name].getsockname()[0]
        if renamed:  # else it was deleted, and the kernel has unbound the socket
            try:
                self._sockets[name].bind((renamed, _ETH_P_NONE))
            except OSError:
                # An interface is not found by its new name yet when it has it already
                # (dev_change_name, net/core/dev.c): the next sample tries again.
                return
            self._set_promiscuous(name, _PACKET_DROP_MEMBERSHIP, ifindex)
        with suppress(FileNotFoundError):
            write_slot(self._maps, ifindex, None)
        del self._bound[name]

    def _follow_interfaces(self) -> dict[str, bool]:
        """Attach again to what was made anew; tells which interfaces are up and attached."""
        for name in list(self._bound):
            # The kernel unbinds the socket of a deleted interface: the same name and number may
            # be another one's by now.
            if self._sockets[name].getsockname()[0] != name:
                self._leave(name)
        return {name: self._is_up(name) for name in self.interfaces}

    def _is_up(self, name: str) -> bool:
        interface = find_interface(name)
        if interface is None or not interface.has_ethernet_header:
            return False
        if name not in self._bound:
            try:
                self._join(name)
            except AttachError:
                return False
        return interface.running and self._bound[name] == interface.ifindex

    def read(self) -> Sample:
        """Read every counter, added up over the CPUs."""
        up = self._follow_interfaces()
        time_ns = time.monotonic_ns()
        wall_time = time.time()
        return Sample(
            time_ns,
            wall_time,
            read_streams(self._maps, self.layout),
            {
                name: read_interface(self._maps, slot, up=up[name])
                for slot, name in enumerate(self.interfaces)
            },
            self._read_account(),
        )

    def _read_account(self) -> ProgramAccount | None:
        """Read the kernel's account from /proc (bpf_prog_show_fdinfo, kernel/bpf/syscall.c)."""
        try:
            if _BPF_STATS_ENABLED.read_text(encoding="ascii").strip() == "0":
                return None
            text = Path(f"/proc/self/fdinfo/{self._fd}").read_text(encoding="ascii")
            facts = dict(line.split(":", 1) for line in text.splitlines())
            return ProgramAccount(int(facts["run_time_ns"]) / NS_PER_SECOND, int(facts["run_cnt"]))
        except (OSError, KeyError):
            return None
