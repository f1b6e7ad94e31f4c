"""The parent of an instance: it waits for a word, for an end, and not for ever."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Callable

import pytest

from tests.unit.test_instances import make_record
from vtap.detach import Child, _detach
from vtap.errors import InstanceError, VtapError
from vtap.records import render_record

if TYPE_CHECKING:
    from pathlib import Path

BOUND_S = 20


def fork(work: Callable[[int], int]) -> Child:
    """Fork a child that does the work with the pipe's end, and exits with what it returns."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(work(writing))
    os.close(writing)
    return Child(pid, reading)


def is_reaped(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_a_record_is_returned_as_soon_as_it_is_whole() -> None:
    """Also where it comes in parts, and the child lives on."""
    text = render_record(make_record()).encode()

    def speak(writing: int) -> int:
        for part in (text[:50], text[50:]):
            os.write(writing, part)
        signal.pause()
        return 0

    child = fork(speak)
    try:
        assert child.wait(BOUND_S) == make_record()
        assert not is_reaped(child.pid)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def test_the_status_of_what_failed_is_passed_on() -> None:
    """The message is already there: the child shares the terminal."""
    assert fork(lambda _: 3).wait(BOUND_S) == 3


def test_an_end_without_a_word_is_an_error() -> None:
    """An instance that was stopped while it started ends with 0, and start has not done its job."""
    child = fork(lambda _: 0)

    with pytest.raises(InstanceError, match=rf"instance {child.pid} was stopped before it measur"):
        child.wait(BOUND_S)


def test_what_neither_measures_nor_ends_is_killed() -> None:
    """After the bound; nothing of it is left."""
    child = fork(lambda _: signal.pause() or 0)

    with pytest.raises(
        VtapError,
        match=rf"^instance {child.pid} did not measure within 0\.2 s; it is killed$",
    ):
        child.wait(0.2)

    assert is_reaped(child.pid)


def test_what_is_no_record_is_said() -> None:
    """Two versions of vTap, say."""

    def speak(writing: int) -> int:
        return os.write(writing, b"{\n}\n")

    child = fork(speak)

    with pytest.raises(VtapError, match=rf"instance {child.pid} said what is no record"):
        child.wait(BOUND_S)
    os.waitpid(child.pid, 0)


def test_a_log_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    """While the terminal is still there to say it."""
    reading, writing = os.pipe()
    os.close(reading)

    with pytest.raises(VtapError, match=r"^cannot write log .*/no/4121\.log: no such file or dir"):
        _detach(writing, make_record(), tmp_path / "no" / "4121.log")
    os.close(writing)
