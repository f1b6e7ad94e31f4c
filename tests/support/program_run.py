"""Run BPF programs on frames without a network: BPF_PROG_TEST_RUN of bpf(2).

Takes the descriptor of a loaded program; knows nothing of BCC, whose binding of this command
appeared only in 0.30. Source: linux/bpf.h (union bpf_attr, struct __sk_buff, struct xdp_md) and
net/bpf/test_run.c of the kernel.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from vtap.bpf_syscall import call_bpf

BPF_PROG_TEST_RUN = 10
BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1  # Linux 5.18 and later


class _Attributes(ctypes.Structure):
    """The member `test` of union bpf_attr; sizes in bytes, addresses as numbers."""

    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),  # output
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),  # output: nanoseconds, mean of one run
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class _SkBuff(ctypes.Structure):
    """struct __sk_buff as far as gso_size; the kernel takes the rest for zero and refuses most
    other members.
    """

    _fields_ = (
        ("_len_to_ingress_ifindex", ctypes.c_uint32 * 10),
        ("ifindex", ctypes.c_uint32),
        ("_tc_index_to_data_meta", ctypes.c_uint32 * 25),
        ("_flow_keys", ctypes.c_uint64),
        ("tstamp", ctypes.c_uint64),  # nanoseconds
        ("_wire_len", ctypes.c_uint32),
        ("gso_segs", ctypes.c_uint32),
        ("_sk", ctypes.c_uint64),
        ("gso_size", ctypes.c_uint32),  # bytes
    )


class _XdpMd(ctypes.Structure):
    """struct xdp_md as far as rx_queue_index."""

    _fields_ = (
        ("data", ctypes.c_uint32),
        ("data_end", ctypes.c_uint32),
        ("data_meta", ctypes.c_uint32),
        ("ingress_ifindex", ctypes.c_uint32),
        ("rx_queue_index", ctypes.c_uint32),
    )


class ProgramRun(NamedTuple):
    """What a program returned last, and the mean time of one run in nanoseconds."""

    retval: int
    duration_ns: int


def _prog_test_run(
    prog_fd: int,
    frame: bytes,
    context: ctypes.Structure,
    *,
    repeat: int,
    flags: int = 0,
) -> ProgramRun:
    """Call bpf(BPF_PROG_TEST_RUN); raises OSError with the kernel's errno."""
    data = ctypes.create_string_buffer(frame, len(frame))
    attributes = _Attributes(
        prog_fd=prog_fd,
        data_size_in=len(frame),
        data_in=ctypes.addressof(data),
        repeat=repeat,
        ctx_size_in=ctypes.sizeof(context),
        ctx_in=ctypes.addressof(context),
        flags=flags,
    )
    call_bpf(BPF_PROG_TEST_RUN, attributes)
    return ProgramRun(attributes.retval, attributes.duration)


def run_program(
    prog_fd: int,
    frame: bytes,
    *,
    repeat: int = 1,
    gso_segs: int = 0,
    gso_size: int = 0,
    tstamp_ns: int = 0,
    ifindex: int = 0,
) -> ProgramRun:
    """Run a SCHED_CLS program `repeat` times on a frame that starts at its Ethernet header.

    The frame arrives on the loopback interface (ifindex 1) unless `ifindex` names another one of
    this namespace. Its packet type follows from the destination address. A tag in the bytes stays
    there: vlan_present is always 0. Raises OSError: EINVAL for a frame over about 3500 bytes (a
    page), under 14 bytes, or of an untagged IP ethertype and shorter than that IP header (34 and 54
    bytes together); EINTR when a signal ends a long series.
    """
    context = _SkBuff(ifindex=ifindex, tstamp=tstamp_ns, gso_segs=gso_segs, gso_size=gso_size)
    return _prog_test_run(prog_fd, frame, context, repeat=repeat)


def inject_frames(prog_fd: int, frame: bytes, count: int, ifindex: int) -> int:
    """Let an XDP program have `count` copies of a frame as if received by an interface of this
    namespace.

    What the program passes goes through the receive path on the CPU of the caller. Returns the
    nanoseconds a frame took. Raises OSError: ENODEV for an unknown interface, EINVAL for a frame
    that does not fit a page (about 3400 bytes) or before Linux 5.18.
    """
    context = _XdpMd(data_end=len(frame), ingress_ifindex=ifindex)
    return _prog_test_run(
        prog_fd, frame, context, repeat=count, flags=BPF_F_TEST_XDP_LIVE_FRAMES
    ).duration_ns
