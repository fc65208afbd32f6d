"""What a wheel carries, and what the mapping of rules/ to lrp_hooks.rules promises."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from setuptools.config.pyprojecttoml import load_file

from lrp_hooks.support.extras import how_to_install

ROOT = Path(__file__).resolve().parents[2]
IGNORED = shutil.ignore_patterns("__pycache__")
UNTRACKED = shutil.ignore_patterns(
    *("__pycache__", ".*_cache", ".hypothesis", ".git", ".venv", "venv"),
    *("build", "dist", "*.egg-info", "work"),
)


PROJECT = load_file(ROOT / "pyproject.toml")["project"]
BUILD = (
    "import sys\n"
    "from setuptools import build_meta\n"
    "print(getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2]))\n"
)


def built(kind, source, folder):
    """Build an archive of a source tree; return its path."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


def names_in(wheel):
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that is built from a copy of what the wheel needs."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for folder in ("lrp_hooks", "rules"):
        shutil.copytree(ROOT / folder, source / folder, ignore=IGNORED)
    return built("wheel", source, tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def wheel_names(wheel):
    """File names of the wheel."""
    return names_in(wheel)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """What is in the source archive of the whole tree, unpacked."""
    source = tmp_path_factory.mktemp("tree") / "source"
    shutil.copytree(ROOT, source, ignore=UNTRACKED, symlinks=True)
    archive = built("sdist", source, tmp_path_factory.mktemp("sdist"))
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel into a folder of its own; run programs that see that alone."""
    folder = tmp_path_factory.mktemp("installed")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}

    def run(*command):
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


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
    scripts = [
        f"{name}.js" for name in ("explorer", "page", "classify", "answer", "generate")
    ]
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


def test_a_wheel_works_without_the_checkout(installed):
    code = (
        "import lrp_hooks, lrp_hooks.rules\n"
        "from lrp_hooks import explain\n"
        "from lrp_hooks.sentiment import sentiment_model\n"
        "model, tokenizer = sentiment_model()\n"
        "found = explain(model, 'a funny film', tokenizer=tokenizer)\n"
        "assert found.ledger.error.item() < 1e-5\n"
        "print(lrp_hooks.__file__, lrp_hooks.rules.__file__, lrp_hooks.__version__)"
    )
    *files, version = installed(sys.executable, "-c", code).split()
    assert all(Path(file).is_relative_to(installed.folder) for file in files)
    assert version == PROJECT["version"]


def test_the_installed_command_works_without_the_checkout(installed):
    command = installed.folder / "bin" / "lrp-hooks"
    out = installed(sys.executable, str(command), "explain", "a funny film")
    assert out.startswith("prediction  positive")
    assert installed(sys.executable, str(command), "rules").count("Zero()") > 10


def test_a_source_archive_has_what_a_wheel_and_the_tests_need(unpacked, wheel_names):
    for name in (
        "CHANGELOG.md",
        "RELEASING.md",
        "constraints.txt",
        "conda/recipe.yaml",
    ):
        assert (unpacked / name).is_file(), name
    for name in ("tests/conftest.py", "docs/build.py", "examples/first_steps.ipynb"):
        assert (unpacked / name).is_file(), name
    assert not list(unpacked.rglob("__pycache__"))
    folder = unpacked.parent / "wheel"
    folder.mkdir()
    assert names_in(built("wheel", unpacked, folder)) == wheel_names


def test_the_conda_recipe_says_what_the_project_says():
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text("utf-8"))
    context = recipe["context"]
    assert (context["name"], context["version"]) == (
        PROJECT["name"],
        PROJECT["version"],
    )
    assert f">={context['python_min']}" == PROJECT["requires-python"]
    python, *run = recipe["requirements"]["run"]
    assert python == "python >=${{ python_min }}"
    named = [one.replace(" ", "").replace("pytorch", "torch") for one in run]
    assert named == PROJECT["dependencies"]
    (command,) = recipe["build"]["python"]["entry_points"]
    assert PROJECT["scripts"] == dict([command.split(" = ")])
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["about"]["license"] == PROJECT["license"]


def test_every_hint_names_an_extra_that_there_is():
    sources = [p.read_text("utf-8") for p in (ROOT / "lrp_hooks").rglob("*.py")]
    calls = re.findall(r'require\(\s*[^,()]+,\s*"(\w+)"', "".join(sources))
    assert len(calls) > 10
    assert set(calls) <= set(PROJECT["optional-dependencies"])


def test_a_hint_is_for_an_index_and_for_a_checkout():
    said = how_to_install("plot")
    assert 'pip install "lrp_hooks[plot]"' in said
    assert 'pip install -c constraints.txt -e ".[plot]"' in said


def test_every_requirement_has_a_lower_bound():
    """Else `.ci/oldest` would have nothing to test it with."""
    extras = PROJECT["optional-dependencies"].values()
    every = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    named = [line for line in every if not line.startswith("lrp_hooks[")]
    assert all(re.match(r"[\w.-]+(\[\w+\])?>=\d[\d.]*(;|$)", line) for line in named)


def test_ci_runs_the_oldest_versions():
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert '"$root/.ci/oldest"' in run
