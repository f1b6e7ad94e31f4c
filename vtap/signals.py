"""The signals that end a run, waited for instead of handled: nothing is interrupted half way."""

from __future__ import annotations

import ctypes
import signal

_SIGSET_BYTES = 128
"""sizeof(sigset_t) of glibc and musl."""
_NS_PER_SECOND = 1_000_000_000


class StopSignals:
    """SIGINT, SIGTERM and the terminal's SIGHUP, held back until waited for.

    A second one, while the run ends, therefore does nothing; and no handler can meet a lock held.
    Under nohup a SIGHUP does nothing, too.
    """

    def __init__(self) -> None:
        """Hold them back, in this thread and those it starts."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        self._stopped = False
        self._libc = ctypes.CDLL(None)
        self._set = ctypes.create_string_buffer(_SIGSET_BYTES)
        self._libc.sigemptyset(self._set)
        for number in numbers:
            self._libc.sigaddset(self._set, int(number))

    def set(self) -> None:
        """Have the run end without a signal."""
        self._stopped = True

    def wait(self, timeout: float) -> bool:
        """Return True once one has come, False after timeout seconds, or sooner after SIGCONT.

        Not signal.sigtimedwait(): CPython's returns what no signal has filled in when SIGCONT
        interrupts it after the timeout, so that Ctrl-Z and fg would end the run.
        """
        if not self._stopped:
            nanoseconds = max(0, round(timeout * _NS_PER_SECOND))
            duration = (ctypes.c_long * 2)(*divmod(nanoseconds, _NS_PER_SECOND))
            self._stopped = self._libc.sigtimedwait(self._set, None, duration) > 0
        return self._stopped
