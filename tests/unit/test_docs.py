"""The documentation says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from script import tables
from vtap.config import KEYS, Config, Key, parse_config

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_readme_tables_are_those_of_the_code() -> None:
    """Writing the tables anew changes nothing: else run script/docs."""
    assert tables.fill(README) == README


def test_a_changed_table_is_made_anew() -> None:
    """A cell that somebody edits is put right, so the check above can fail."""
    edited = README.replace("| `--check` |  | Validate", "| `--check` |  | Ignore")

    assert edited != README
    assert tables.fill(edited) == README


def test_a_table_without_its_place_is_named() -> None:
    """A marker that got lost is an error, not a table less."""
    with pytest.raises(ValueError, match="no <!-- begin metrics -->"):
        tables.fill(README.replace("<!-- begin metrics -->", ""))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_documented_defaults_are_the_defaults(key: Key) -> None:
    """A key with the default that the table shows is as good as no key."""
    assert parse_config(f'{{"{key.name}": {key.default}}}', "here") == Config()


def test_config_json_is_the_default() -> None:
    """The file that the README shows changes nothing."""
    text = (REPOSITORY / "config.json").read_text(encoding="utf-8")

    assert parse_config(text, "config.json") == Config()


def test_readme_rules_are_good() -> None:
    """The example of the rule language is read, each rule on its line."""
    block = re.search(r'```jsonc\n("RULES": .*?)```', README, re.DOTALL)
    assert block is not None

    assert len(parse_config("{" + block[1] + "}", "README.md").rules) == 4


def test_documents_link_to_files_that_exist() -> None:
    """Every relative link of every document leads somewhere."""
    documents = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
    links = [
        (document.name, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
        if not (document.parent / link).exists()
    ]

    assert links == []


def test_readme_is_one_sentence_a_line() -> None:
    """Semantic newlines, so that a diff shows a sentence."""
    prose = re.sub(r"```.*?```|<!-- begin .*?<!-- end \w+ -->", "", README, flags=re.DOTALL)
    run_on = [line for line in prose.splitlines() if re.search(r"[a-z)`]\. [A-Z]", line)]

    assert run_on == []
