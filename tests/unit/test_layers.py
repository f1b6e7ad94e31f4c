"""Imports run one way, one module imports bcc, one writes C, and no output knows another."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[2]

# A module imports from layers below its own only.  A new one gets its place here.
LAYERS = (
    (
        "monitor",
        "controller",
        "script.*",
        "bench",
        "bench.*",
        "grafana",
        "grafana.*",
        "docker.*",
        "appliance.*",
    ),
    ("vtap.controller", "vtap.completion"),
    ("vtap.monitor", "vtap.detach", "vtap.status", "vtap.stopping"),
    ("vtap.enlist",),
    ("vtap.endpoint", "vtap.verbs"),
    ("vtap.options", "vtap.session", "vtap.instances"),
    ("vtap.outputs", "vtap.outputs.*"),
    ("vtap.codegen", "vtap.program", "vtap.reports"),
    ("vtap.compiler", "vtap.measurements"),
    ("vtap.config", "vtap.maps", "vtap.shapes"),
    ("vtap.samples", "vtap.interfaces", "vtap.privileges"),
    (
        "vtap.bpf_syscall",
        "vtap.document",
        "vtap.rules",
        "vtap.records",
        "vtap.command",
        "vtap.progress",
        "vtap.signals",
        "vtap.child",
    ),
    ("vtap.errors",),
    ("vtap",),
)
MAY_IMPORT_THEIR_LIKE = ("script.*", "bench.*", "grafana.*")
OURS = ("monitor", "controller", "vtap", "script", "bench", "grafana", "docker", "appliance")

C_TEXT = re.compile(r"#\s*(define|include|ifdef|line\s)|__always_inline|packet->|bpf_\w+\(|__u32\b")


class Import(NamedTuple):
    """One import statement, of a module or of something in it."""

    importer: str
    imported: str
    line: int


def layer_of(module: str) -> int:
    for number, patterns in enumerate(LAYERS):
        if any(fnmatch(module, pattern) for pattern in patterns):
            return number
    message = f"{module} has no place: add it to LAYERS in {Path(__file__).relative_to(ROOT)}"
    raise AssertionError(message)


def find_imports(module: str, text: str, modules: Iterable[str]) -> list[Import]:
    """Return the imports anywhere in a module, within functions and for type checking too."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [Import(module, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # The package of a relative import: vtap.outputs.console's single dot is vtap.outputs.
            package = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                found.append(Import(module, inner if inner in modules else origin, node.lineno))
    return found


def find_back_running(imports: Iterable[Import]) -> list[str]:
    """Return a line for each import that does not lead to a lower layer."""
    wrong = []
    for importer, imported, line in imports:
        if imported.split(".")[0] not in OURS:
            continue
        above, below = layer_of(importer), layer_of(imported)
        alike = any(
            fnmatch(importer, like) and fnmatch(imported, like) for like in MAY_IMPORT_THEIR_LIKE
        )
        if below < above or (below == above and not alike):
            wrong.append(f"{importer} line {line} imports {imported}")
    return wrong


def find_c_text(text: str) -> list[str]:
    """Return the strings of a module, docstrings left out, that are C."""
    tree = ast.parse(text)
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation
        and C_TEXT.search(node.value)
    ]


def is_python(path: Path) -> bool:
    if path.suffix == ".py":
        return True
    with path.open("rb") as file:
        return not path.suffix and file.read(2) == b"#!" and b"python" in file.readline()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module")
def texts() -> Mapping[str, str]:
    """Provide the text of every Python module outside tests, by its dotted name."""
    folders = [ROOT / folder for folder in OURS if (ROOT / folder).is_dir()]
    paths = [ROOT / "monitor.py", ROOT / "controller.py"]
    paths += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        module_name(path): path.read_text(encoding="utf-8")
        for path in paths
        if path.exists() and is_python(path)
    }


@pytest.fixture(scope="module")
def imports(texts: Mapping[str, str]) -> list[Import]:
    """Provide every import of the project."""
    return [
        one for module, text in texts.items() for one in find_imports(module, text, texts.keys())
    ]


def test_the_whole_project_is_read(texts: Mapping[str, str]) -> None:
    """Scripts, package and sub-package are there: an empty list would hold every rule."""
    assert {"monitor", "vtap", "vtap.program", "vtap.outputs.console", "script.traffic"} <= set(
        texts
    )


def test_every_module_has_its_place(texts: Mapping[str, str]) -> None:
    """A module without a layer is a failure that says where to add it."""
    assert [layer_of(module) for module in texts]


def test_imports_run_one_way(imports: list[Import]) -> None:
    """From the scripts down to the errors, for type checking and within functions too."""
    assert find_back_running(imports) == []
    assert len([one for one in imports if one.imported.startswith("vtap")]) > 30


def test_only_the_compiler_imports_bcc(imports: list[Import]) -> None:
    """So that everything else runs, and is tested, without it; a bench may measure BCC itself."""
    users = {one.importer for one in imports if one.imported.split(".")[0] == "bcc"}

    assert {user for user in users if not user.startswith("bench.")} == {"vtap.compiler"}


def test_only_the_code_generator_writes_c(texts: Mapping[str, str]) -> None:
    """A string with C in it stands in no other module."""
    package = {name: text for name, text in texts.items() if name.startswith("vtap")}

    assert [name for name, text in package.items() if find_c_text(text)] == ["vtap.codegen"]


def test_no_output_knows_another(imports: list[Import]) -> None:
    """Each takes reports; what they share stands below them."""
    outputs = [one for one in imports if one.importer.startswith("vtap.outputs.")]

    assert len({one.importer for one in outputs}) >= 5
    assert [one for one in outputs if one.imported.startswith("vtap.outputs")] == []


def test_only_scripts_and_the_monitor_end_the_process(texts: Mapping[str, str]) -> None:
    """Libraries raise VtapError: no sys.exit() in the package."""
    package = {name: text for name, text in texts.items() if name.startswith("vtap")}

    assert [name for name, text in package.items() if "sys.exit" in text] == []


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("vtap.rules", "from vtap.config import Config", "vtap.rules line 1 imports vtap.config"),
        ("vtap.config", "import json\nimport vtap.codegen", "vtap.config line 2 imports "
         "vtap.codegen"),
        ("vtap.errors", "def f():\n    from vtap import rules", "vtap.errors line 2 imports "
         "vtap.rules"),
        ("vtap.samples", "if TYPE_CHECKING:\n    from vtap.measurements import Report",
         "vtap.samples line 2 imports vtap.measurements"),
        ("vtap.session", "import monitor", "vtap.session line 1 imports monitor"),
        ("vtap.outputs.console", "from .jsonlines import make_object",
         "vtap.outputs.console line 1 imports vtap.outputs.jsonlines"),
        ("vtap.outputs.console", "from ..session import Session",
         "vtap.outputs.console line 1 imports vtap.session"),
        ("vtap.codegen", "from vtap.program import Program",
         "vtap.codegen line 1 imports vtap.program"),
        ("vtap.instances", "from vtap.controller import start",
         "vtap.instances line 1 imports vtap.controller"),
    ],
)  # fmt: skip
def test_an_import_that_runs_back_is_caught(
    texts: Mapping[str, str], module: str, text: str, complaint: str
) -> None:
    """In every form that an import has."""
    assert find_back_running(find_imports(module, text, texts.keys())) == [complaint]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("vtap.config", "from vtap.rules import Rule"),
        ("vtap.outputs.console", "from ..measurements import Report"),
        ("vtap.controller", "from vtap.instances import Record"),
        ("controller", "from vtap.verbs import make_parser"),
        ("vtap.controller", "from vtap.monitor import prepare"),
        ("vtap.errors", "import vtap"),
        ("vtap.errors", "import vtapx, configs"),
        ("bench.run", "from bench.load import load"),
    ],
)
def test_an_import_that_runs_down_is_not(texts: Mapping[str, str], module: str, text: str) -> None:
    """Nor is one of somebody else's module."""
    assert find_back_running(find_imports(module, text, texts.keys())) == []


def test_a_module_without_a_place_says_where_it_belongs() -> None:
    """The message names the list and its file."""
    with pytest.raises(
        AssertionError,
        match=r"^vtap\.helpers has no place: add it to LAYERS in tests/unit/test_layers\.py$",
    ):
        layer_of("vtap.helpers")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('X = "#define A 1"', 1),
        ('X = f"packet->{member} == 1"', 1),
        ('"""Writes #define lines."""\nX = "define"', 0),
        ('X = "cannot compile bpf/monitor.c"', 0),
    ],
)
def test_c_in_a_string_is_told_from_words_about_it(text: str, found: int) -> None:
    """Docstrings and messages may name what C looks like."""
    assert len(find_c_text(text)) == found
