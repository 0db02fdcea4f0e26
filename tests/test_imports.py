"""The folders show the architecture: no module imports against the arrows of its folder."""

import ast
import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# folder -> what of Synergy it may import (itself is always allowed), as the contributor pages say
with (ROOT / "doc" / "source" / "contributor" / "arrows.csv").open() as table:
    ARROWS = {row["folder"]: set(row["may import"].split()) for row in csv.DictReader(table)}
STDLIB_AND_NUMPY_ONLY = "synergy.core"
MODULES = sorted((ROOT / "synergy").rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_below(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_its_folder_may(path: Path) -> None:
    module = name_of(path)
    folder = next((f for f in ARROWS if is_below(module, f)), None)
    if folder is None:
        assert module in ("synergy", "synergy.entry")
        return
    allowed = ARROWS[folder] | {folder}
    wrong = {
        name
        for name in imports_of(path)
        if is_below(name, "synergy") and not any(is_below(name, one) for one in allowed)
    }
    assert not wrong


@pytest.mark.parametrize(
    "path", [p for p in MODULES if is_below(name_of(p), STDLIB_AND_NUMPY_ONLY)], ids=name_of
)
def test_core_needs_the_standard_library_and_numpy_only(path: Path) -> None:
    import sys

    outside = {name.split(".")[0] for name in imports_of(path)} - {"synergy", "numpy"}
    assert outside <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_opens_by_saying_why_it_exists(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
