"""The house: rooms import those below them, files make no circle, rules stay outside.

Which room may import which is the picture in CONTRIBUTING.md.
"""

import ast
import graphlib
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "lrp_hooks"
TREES = {PACKAGE: ROOT / PACKAGE, f"{PACKAGE}.rules": ROOT / "rules"}
DOORS = {"__init__", "__main__", "cli", "words"}
"""Modules at the top that hand on what stands in a room; no room may import them."""


def modules():
    """Every module by its name, with its file."""
    found = {}
    for package, folder in TREES.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            stem = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join([package, *stem])] = path
    return found


MODULES = modules()


def imported(name, path):
    """The modules of this library that a module imports, for types also."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith(PACKAGE))
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(up if node.level else []), *filter(None, [node.module])])
            if base.startswith(PACKAGE):
                # The version is a string that every room may say.
                names = {alias.name for alias in node.names} - {"__version__"}
                inner = {name: f"{base}.{name}" for name in names}
                yield from (n if n in MODULES else base for n in inner.values())


@cache
def graph():
    """The modules that each module imports."""
    return {name: set(imported(name, path)) for name, path in MODULES.items()}


def room(name):
    """The folder, or the file at the top, in which a module stands."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def allowed():
    """What each room may import, by the picture in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text.split("<!-- house -->")[1]
    rows = re.findall(r"^(\w+) +<- ?((?:\w+(?:, )?)*) {2}", picture, re.MULTILINE)
    direct = {name: set(below.replace(",", " ").split()) for name, below in rows}
    every = {}
    for name in graphlib.TopologicalSorter(direct).static_order():
        below = direct.get(name, set())
        every[name] = below.union(*(every[b] for b in below))
    return every


def test_the_picture_shows_every_room():
    rooms = {room(name) for name in MODULES} - DOORS
    assert rooms == set(allowed())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_room_imports_those_below_it(name):
    if room(name) in DOORS:
        return
    inside = allowed()[room(name)] | {room(name)}
    above = {other for other in graph()[name] if room(other) not in inside}
    assert not above, f"{name} imports upward: {sorted(above)}"


def test_no_file_stands_in_a_circle():
    graphlib.TopologicalSorter({
        name: {other for other in below if other != name}
        for name, below in graph().items()
    }).prepare()


def test_rules_keep_to_what_the_engine_exports():
    taken = defaultdict(set)
    for name, below in graph().items():
        if name.startswith(f"{PACKAGE}.rules"):
            for other in below - {name}:
                taken[other].add(name)
    outside = {other for other in taken if not other.startswith(f"{PACKAGE}.rules")}
    assert outside <= {f"{PACKAGE}.engine", f"{PACKAGE}.errors"}


def test_only_doors_and_public_modules_stand_at_the_top():
    files = {path.stem for path in (ROOT / PACKAGE).glob("*.py")}
    assert files == DOORS | {"errors", "patching"}


def test_the_engine_knows_no_explanation():
    assert allowed()["engine"] == {"errors", "support"}
    assert not allowed()["results"] & {"engine", "attribution", "texts"}
