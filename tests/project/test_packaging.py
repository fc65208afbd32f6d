"""What a wheel carries, and what the mapping of rules/ to lrp_hooks.rules promises."""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IGNORED = shutil.ignore_patterns("__pycache__")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    """File names of a wheel that is built from a copy of what the wheel needs."""
    build = (
        "import sys\n"
        "from setuptools import build_meta\n"
        "print(build_meta.build_wheel(sys.argv[1]))\n"
    )
    source = tmp_path_factory.mktemp("source")
    wheels = tmp_path_factory.mktemp("wheels")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for folder in ("lrp_hooks", "rules"):
        shutil.copytree(ROOT / folder, source / folder, ignore=IGNORED)
    done = subprocess.run(
        [sys.executable, "-c", build, str(wheels)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(wheels / done.stdout.split()[-1]) as wheel:
        return set(wheel.namelist())


def python_files():
    """Every module of both trees, by its name inside a wheel."""
    for folder, package in (("lrp_hooks", "lrp_hooks"), ("rules", "lrp_hooks/rules")):
        for path in (ROOT / folder).rglob("*.py"):
            yield f"{package}/{path.relative_to(ROOT / folder).as_posix()}"


def test_the_wheel_has_every_module_and_nothing_beside_the_package(wheel_names):
    assert set(python_files()) <= wheel_names
    tops = {name.split("/")[0] for name in wheel_names}
    assert tops == {"lrp_hooks", f"lrp_hooks-{metadata.version('lrp_hooks')}.dist-info"}


def test_the_wheel_carries_the_explorers_page(wheel_names):
    scripts = [f"{name}.js" for name in ("explorer", "page", "classify", "answer")]
    for name in ("page.html", "explorer.css", *scripts):
        assert f"lrp_hooks/serve/{name}" in wheel_names


def test_the_wheel_is_typed_and_carries_the_sentiment_model(wheel_names):
    assert "lrp_hooks/py.typed" in wheel_names
    model = {n for n in wheel_names if n.startswith("lrp_hooks/sentiment/")}
    assert any(name.endswith("config.json") for name in model)
    assert any(name.endswith("tokenizer.json") for name in model)
    assert any(name.endswith(".safetensors") for name in model)


def test_every_folder_with_modules_is_listed_as_a_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    found = {name.rpartition("/")[0].replace("/", ".") for name in python_files()}
    assert found <= listed


def test_rules_are_found_through_the_entry_point_group():
    (builtin,) = metadata.entry_points(group="lrp_hooks.rules", name="builtin")
    assert builtin.value == "lrp_hooks.rules"
    assert builtin.load().__name__ == "lrp_hooks.rules"


def test_the_command_is_installed():
    scripts = metadata.entry_points(group="console_scripts", name="lrp-hooks")
    assert {script.value for script in scripts} == {"lrp_hooks.cli:main"}


def test_rules_cannot_be_imported_as_a_package_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", "import rules"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ImportError" in done.stderr


def test_constraints_pin_exactly_and_name_no_place():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


def test_every_direct_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normal(line.split("==")[0]) for line in lines}
    required = metadata.requires("lrp_hooks")
    names = {normal(re.match(r"[\w.-]+", line).group()) for line in required}
    assert names - {"lrp-hooks"} <= pinned  # extras name other extras by it


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
