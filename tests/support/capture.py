"""Count and read the frames of an interface without vTap: a packet socket and its statistics."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from tests.support.netns import Interface

# linux/if_packet.h; struct tpacket_stats is two u32: packets that the socket saw (dropped ones
# included), and drops.
SOL_PACKET = 263
PACKET_STATISTICS = 6
_TPACKET_STATS = struct.Struct("=II")

SO_RCVBUFFORCE = 33  # asm-generic/socket.h: not bounded by net.core.rmem_max

BUFFER_BYTES = 8 << 20
LONGEST_FRAME = 65_536 + 18


class Capture:
    """Counts the frames of an interface since its creation, both directions, and keeps the first; a
    context manager.

    The count is exact at any rate: a frame that finds the buffer full is dropped, but counted.
    """

    def __init__(self, interface: Interface, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        """Start to count; `buffer_bytes` bounds what is kept (the kernel charges some 800 bytes for
        a short frame).
        """
        self._socket = interface.packet_socket()
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
        self._count = 0

    def __enter__(self) -> Self:
        """Return itself: it counts already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self._socket.close()

    def count(self) -> int:
        """Frames since the creation; GRO-merged ones count once."""
        statistics = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, _TPACKET_STATS.size)
        self._count += _TPACKET_STATS.unpack(statistics)[0]  # reading clears the kernel's
        return self._count

    def read(self, limit: int) -> list[bytes]:
        """Take at most `limit` of the frames kept, oldest first; without the outer VLAN tag
        (packet(7)).
        """
        frames: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while len(frames) < limit:
                frames.append(self._socket.recv(LONGEST_FRAME, socket.MSG_DONTWAIT))
        return frames
