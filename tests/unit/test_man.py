"""The man pages are what the parsers say today, and good roff."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from script.man import render_all
from vtap import options

ROOT = Path(__file__).resolve().parents[2]
PAGES = render_all()


def test_there_is_a_page_for_each_script() -> None:
    """monitor.py and controller.py, and nothing else in the folder."""
    assert set(PAGES) == {"monitor.py.8", "controller.py.8"}
    assert {path.name for path in (ROOT / "docs" / "man").iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_writing_it_again_changes_nothing(name: str) -> None:
    """Whatever Python formats the help; script/docs writes the pages."""
    assert PAGES[name] == (ROOT / "docs" / "man" / name).read_text(encoding="utf-8")


def test_every_option_and_verb_is_there() -> None:
    """In bold, its hyphens those of a command that can be copied."""
    for option in options.make_parser()._option_string_actions:
        assert rf"\fB{option}\fR".replace("-", r"\-") in PAGES["monitor.py.8"]
    for verb in ("start", "stop", "status", "logs", "restart"):
        assert f"\n.SS {verb}\n" in PAGES["controller.py.8"]
    assert r"\fB\-\-detached\fR" in PAGES["controller.py.8"]


@pytest.mark.parametrize("name", PAGES)
def test_roff_has_nothing_to_complain_of(name: str) -> None:
    """With every warning on."""
    if not shutil.which("groff"):
        pytest.skip("groff is missing")

    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8"],
        input=PAGES[name],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr == ""
