"""What the library warns of is told as its own: by the command line, pages, runs."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import lrp_hooks
from lrp_hooks import LrpHooksWarning, errors

ROOT = Path(lrp_hooks.__file__).parent
HANDED_ON = {"many/warned.py": "kind"}
"""Where what was collected of this library is told again."""


def warned_of():
    """Yield each warning: its file, and its category as it is written, or None."""
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                named = [k.value for k in node.keywords if k.arg == "category"]
                kind = next(iter([*node.args[1:2], *named]), None)
                yield name, None if kind is None else ast.unparse(kind)


@pytest.mark.parametrize(("file", "kind"), sorted(set(warned_of()), key=str))
def test_a_warning_is_one_of_the_librarys(file, kind):
    if HANDED_ON.get(file) == kind is not None:
        return
    found = getattr(errors, kind or "", None)
    if found is None:
        module = import_module(f"lrp_hooks.{file[:-3].replace('/', '.')}")
        found = getattr(module, kind or "", UserWarning)
    assert issubclass(found, LrpHooksWarning), f"{file} warns of {kind}"
