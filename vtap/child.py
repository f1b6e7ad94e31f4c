"""A child process that does one thing, tells what came of it, hands over descriptors and ends.

Knows nothing of what it does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import warnings
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, NoReturn

from vtap import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_DESCRIPTORS = 16
"""Of one message."""

_PR_SET_PDEATHSIG = 1
_MESSAGE_BYTES = 1 << 16


class ChildError(Exception):
    """The child failed in a way that it did not foresee; the text says how."""


class Message(NamedTuple):
    """What a child sends: what JSON can say, and descriptors."""

    said: dict[str, Any]
    descriptors: Sequence[int] = ()


def run_in_child(act: Callable[[Callable[[Message], None]], None]) -> list[Message]:
    """Call act in a child and return what it has sent; descriptors are then of this process.

    Raises the VtapError that act raised, or ChildError.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs, warnings.catch_warnings():
            # From Python 3.12 on: "multi-threaded". The thread that shows progress holds no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            starter = os.getpid()
            pid = os.fork()
            if pid == 0:
                _be_the_child(starter, theirs, act)
        messages = []
        while message := _receive(ours):
            messages.append(message)
        _, status = os.waitpid(pid, 0)
    if not messages or status:
        for message in messages:
            for fd in message.descriptors:
                os.close(fd)
        _fail(messages[-1].said if messages else {}, status)
    return messages


def _be_the_child(
    starter: int, parent: socket.socket, act: Callable[[Callable[[Message], None]], None]
) -> NoReturn:
    """Act; nothing but the messages gets out."""

    def send(message: Message) -> None:
        socket.send_fds(parent, [json.dumps(message.said).encode()], list(message.descriptors))

    status = 1
    try:
        # The port and the locks that it holds too must not outlive the parent, if that is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == starter:
            act(send)
            status = 0
    except errors.VtapError as error:
        send(Message({"error": type(error).__name__, "reason": str(error)}))
    except Exception as error:  # noqa: BLE001 - a child has nobody else to tell
        send(Message({"reason": f"{type(error).__name__}: {error}"}))
    finally:
        os._exit(status)


def _receive(child: socket.socket) -> Message | None:
    text, descriptors, _, _ = socket.recv_fds(
        child, _MESSAGE_BYTES, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    return Message(json.loads(text), descriptors) if text else None


def _fail(last_words: Mapping[str, str], status: int) -> NoReturn:
    if "error" in last_words:
        raise getattr(errors, last_words["error"])(last_words["reason"])
    if "reason" in last_words:
        raise ChildError(last_words["reason"])
    if os.WIFSIGNALED(status):
        message = f"ended by signal {os.WTERMSIG(status)}"
        raise ChildError(message)
    message = "ended without a word"
    raise ChildError(message)
