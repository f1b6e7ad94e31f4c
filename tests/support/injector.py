"""Inject an exact number of frames into the receive path of an interface, at full speed.

An XDP program that passes everything is run by BPF_PROG_TEST_RUN with live frames: the kernel makes
the frames, so nothing limits the rate but the receive path itself. The interface's rx statistics,
which its driver keeps, do not see such frames; packet sockets, tc and the protocols do. Merging
(GRO) does not happen. Stands on program_run.py and netns.py, and on BCC for the program.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from bcc import BPF

from tests.support.program_run import inject_frames

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from tests.support.netns import Interface

REPOSITORY = Path(__file__).resolve().parents[2]
CHUNK_FRAMES = 1_000_000  # a system call of some 0.3 s, between which an injection can be stopped
WAIT_S = 60

# A number cell a CPU, each in a cache line of its own (64 bytes) so that two CPUs do not slow each
# other down.
PROGRAM = b"""
struct cell { u32 number; u32 padding[15]; };

BPF_ARRAY(cells, struct cell, CPUS);

int inject(struct xdp_md *context)
{
#ifdef NUMBER_OFFSET
	void *data = (void *)(long)context->data;
	void *data_end = (void *)(long)context->data_end;
	u32 *number = data + NUMBER_OFFSET; /* in the frame, network byte order */
	u32 cpu = bpf_get_smp_processor_id();
	struct cell *cell = cells.lookup(&cpu);

	if (!cell || (void *)(number + 1) > data_end)
		return XDP_DROP;
	*number = bpf_htonl(cell->number);
	cell->number++;
#endif
	return XDP_PASS;
}
"""


def compile_program(text: bytes, *cflags: str) -> BPF:
    """Compile C with BCC and the repository's stub headers (or those of BCC_KERNEL_SOURCE)."""
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(REPOSITORY / "bpf"))
    return BPF(text=text, cflags=list(cflags))


class Injection:
    """One run of frames from one CPU, on a thread inside the namespace; see Injector.start()."""

    def __init__(
        self,
        interface: Interface,
        prog_fd: int,
        frame: bytes,
        count: int,
        cpu: int,
    ) -> None:
        """Start at once."""
        self._interface = interface
        self._prog_fd = prog_fd
        self._frame = frame
        self._count = count
        self._cpu = cpu
        self._total_ns = 0
        self._stopped = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Inject in chunks; affinity, signal mask and namespace are the thread's own."""
        try:
            os.sched_setaffinity(0, {self._cpu})
            # A pending signal would end the system call early (EINTR) with an unknown number of
            # frames injected.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            self._interface.namespace.enter_thread()
            remaining = self._count
            while remaining > 0 and not self._stopped.is_set():
                chunk = min(remaining, CHUNK_FRAMES)
                frame_ns = inject_frames(self._prog_fd, self._frame, chunk, self._interface.ifindex)
                self._total_ns += chunk * frame_ns
                remaining -= chunk
        except OSError as error:
            self._error = error

    def is_running(self) -> bool:
        """Tell whether it still injects."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End after the running chunk, and wait for that."""
        self._stopped.set()
        self._thread.join()

    def wait(self, timeout_s: float = WAIT_S) -> float:
        """Wait for the end; returns the nanoseconds a frame took, raises the kernel's OSError."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._stopped.set()
            message = f"injection of {self._count} frames took more than {timeout_s} s"
            raise TimeoutError(message)
        if self._error is not None:
            raise self._error
        return self._total_ns / self._count


class Injector:
    """Injects copies of frames into one interface; a context manager.

    With `number_offset` (bytes from the start of the frame) each frame carries a number there: 32
    bits, network byte order, one more each frame, wrapping at 2^32. Injections from different CPUs
    may run at once, each with its own numbers. A frame too short for its number is dropped. Needs
    Linux 5.18.
    """

    def __init__(self, interface: Interface, *, number_offset: int | None = None) -> None:
        """Compile and load the program, which takes BCC some 0.3 s."""
        cflags = [f"-DCPUS={os.cpu_count()}"]
        if number_offset is not None:
            cflags.append(f"-DNUMBER_OFFSET={number_offset}")
        self._interface = interface
        self._bpf = compile_program(PROGRAM, *cflags)
        self._prog_fd: int = self._bpf.load_func(b"inject", BPF.XDP).fd
        self._injections: list[Injection] = []

    def __enter__(self) -> Self:
        """Return itself: the program is loaded."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what still runs and unload the program."""
        for injection in self._injections:
            injection.stop()
        self._bpf.cleanup()

    def start(
        self,
        frame: bytes,
        count: int,
        *,
        cpu: int = 0,
        first_number: int = 0,
        interface: Interface | None = None,
    ) -> Injection:
        """Start `count` copies, numbered from `first_number`; one injection at a time on a CPU.

        `interface` is another one than the injector's own.
        """
        cells = self._bpf[b"cells"]
        cell = cells.Leaf()
        cell.number = first_number
        cells[cells.Key(cpu)] = cell
        injection = Injection(interface or self._interface, self._prog_fd, frame, count, cpu)
        self._injections.append(injection)
        return injection

    def inject(self, frame: bytes, count: int, *, cpu: int = 0, first_number: int = 0) -> float:
        """Inject and wait; returns the nanoseconds a frame took."""
        return self.start(frame, count, cpu=cpu, first_number=first_number).wait()
