"""The pages' code prints what they say, and the site they make is whole."""

import os
import re
import runpy
import shutil
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import lrp_hooks
from examples_in_text import assert_same_output, blocks, examples
from lrp_hooks import captum, explainers, faithfulness, rules
from lrp_hooks.commands.arguments import command_parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILD = runpy.run_path(str(DOCS / "build.py"))
PAGES = {page.relative_to(DOCS).as_posix(): page for page in BUILD["PAGES"]}
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
PICTURES = {".html", ".png", ".svg"}
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
SOURCES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
EXTRAS = ("furo", "myst_parser", "sphinx")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run pages, each once and in a folder of its own; skip what lacks a package."""
    done = {}

    def run(name):
        absent = BUILD["missing"](PAGES[name])
        if absent:
            pytest.skip(f"{name} needs {', '.join(absent)}")
        if name not in done:
            folder = tmp_path_factory.mktemp("page")
            done[name] = list(BUILD["run"](PAGES[name], folder)), folder
        return done[name]

    return run


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_what_it_says(name, ran):
    printed, _ = ran(name)
    shown = [text for _, text in examples(PAGES[name].read_text(encoding="utf-8"))]
    for number, (here, there) in enumerate(zip(printed, shown, strict=True)):
        assert (here == "") == (there is None), f"block {number}"
        assert_same_output(here, there or "")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_makes_its_pictures_and_shows_them(name, ran):
    _, folder = ran(name)
    made = {path.name for path in folder.iterdir() if path.suffix in PICTURES}
    shown = set(PICTURE.findall(PAGES[name].read_text(encoding="utf-8")))
    kept = {path for path in shown if path.startswith("../_static/")}  # drawn elsewhere
    assert shown - kept == made
    assert all((PAGES[name].parent / path).is_file() for path in kept)


def test_tutorials_have_code():
    for name, page in PAGES.items():
        languages = {kind for kind, _ in blocks(page.read_text(encoding="utf-8"))}
        assert "python" in languages or not name.startswith("tutorials/")


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_links_between_sources_lead_somewhere(path):
    """As read in the repository, where a page is its Markdown file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, link in re.findall(r"(!?\[[^\]]*\])\(([^)\s]+)\)", CODE.sub("", text)):
        parts = urlsplit(link)
        if is_outside(link) or (name.startswith("!") and path.parts[0] == "docs"):
            continue  # a page's pictures are made where it runs
        target = (ROOT / path).parent / parts.path if parts.path else ROOT / path
        assert target.exists(), link
        assert not parts.fragment or parts.fragment in anchors(target), link
        assert name != "[]", f"{link} has no text"


def anchors(path):
    """Return what can be linked to in a Markdown file: its headings."""
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}


def test_a_page_says_what_it_needs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- needs: torch nosuchmodule -->\n")
    assert BUILD["missing"](page) == ["nosuchmodule"]
    page.write_text("# Page\n")
    assert BUILD["missing"](page) == []


def test_pages_for_other_tools_are_skipped_for_their_packages_alone():
    """What the tests' own extra installs is never skipped for."""
    for name in ("trainer", "shap", "jupyter"):
        assert BUILD["missing"](DOCS / "elsewhere" / f"{name}.md") == []


def test_code_works_in_the_folder_it_is_given(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '```python\nfrom pathlib import Path\nPath("a.txt").write_text("a")\n'
        "print(1)\n```\n\nprose\n\n```python\nhere = Path.cwd()\n```\n"
    )
    (tmp_path / "work").mkdir()
    before = Path.cwd()
    assert list(BUILD["run"](page, tmp_path / "work")) == ["1\n", ""]
    assert (tmp_path / "work" / "a.txt").exists()
    page.write_text("# Heading\n\n```python\n\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as raised:
        list(BUILD["run"](page, tmp_path))
    assert raised.traceback[-1].lineno + 1 == 5  # where it is on the page
    assert Path.cwd() == before


@pytest.fixture(scope="module")
def site(ran, tmp_path_factory):
    """Build the site; without Sphinx its tests are skipped, but not in CI."""
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing and "CI" in os.environ:
        pytest.fail(f"CI must have the extra docs: {missing} are missing")
    if missing:
        pytest.skip(f"the extra docs is not installed: {missing}")
    folder = tmp_path_factory.mktemp("site")
    BUILD["copy_sources"](folder / "sources")
    for name in PAGES:
        if BUILD["missing"](PAGES[name]):
            continue
        _, made = ran(name)
        for path in filter(Path.is_file, made.iterdir()):
            target = (folder / "sources" / name).with_name(path.name)
            assert not target.exists(), f"two pages write {path.name}"
            shutil.copy(path, target)
    BUILD["render"](folder / "sources", folder / "html")
    return {
        path.relative_to(folder / "html").as_posix(): Page(path)
        for path in (folder / "html").rglob("*.html")
    }


class Page(HTMLParser):
    """What a page links to, what it loads, what can be linked to, and its text."""

    LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.loaded = path, [], []
        self.ids, self.text = set(), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if self.LOADED.get(tag) in found:
            self.loaded.append(found[self.LOADED[tag]])

    def handle_data(self, data):
        self.text += data


def is_outside(address):
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in {"", "data"}


def test_nothing_comes_from_elsewhere(site):
    root = site["index.html"].path.parent
    for page in site.values():
        assert not [address for address in page.loaded if is_outside(address)]
        for address in page.loaded:
            parts = urlsplit(address)
            target = page.path.parent / unquote(parts.path)
            here = parts.scheme == "data" or not parts.path
            assert here or target.is_file(), f"{page.path.name}: {address}"
    styles = [*root.rglob("*.css"), *(page.path for page in site.values())]
    for path in styles:
        text = path.read_text(encoding="utf-8")
        addresses = re.findall(
            r"""(?:url\(|@import\s+(?!url))["']?([^"')\s;]+)""", text
        )
        assert not [address for address in addresses if is_outside(address)], path


def test_links_lead_somewhere(site):
    root = site["index.html"].path.parent
    links = 0
    for page in site.values():
        for link in (link for link in page.links if not is_outside(link)):
            parts = urlsplit(link)
            target = (page.path.parent / unquote(parts.path)).resolve()
            found = page if not parts.path else site[str(target.relative_to(root))]
            assert not parts.fragment or unquote(parts.fragment) in found.ids, link
            links += 1
    assert links > 100


def test_pages_of_explanations_are_framed(site):
    """A frame holds what the tutorial's code wrote, scripts and all else aside."""
    framed = {
        address
        for page in site.values()
        for address in page.loaded
        if address.endswith(".html")
    }
    assert "../_images/film.html" in framed
    assert "unforgettable" in site["_images/film.html"].text


def test_equations_are_mathml(site):
    text = site["concepts.html"].path.read_text(encoding="utf-8")
    assert text.count("<math") == text.count("</math>") > 10
    assert "$" not in site["concepts.html"].text


def test_the_reference_has_every_public_name(site):
    pages = [page for name, page in site.items() if name.startswith("reference/")]
    listed = {str(name) for page in pages for name in page.ids}
    names = {name.rpartition(".")[2] for name in listed}
    for module in (lrp_hooks, faithfulness, captum, rules):
        public = {name for name in module.__all__ if not is_submodule(module, name)}
        assert not public - names, module.__name__
    classes = {explainers.named(name).__name__ for name in explainers.names()}
    assert {f"lrp_hooks.explainers.{name}" for name in classes} <= listed


def is_submodule(module, name):
    return isinstance(getattr(module, name), ModuleType)


def test_the_command_line_page_lists_every_command():
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    (commands,) = [each for each in command_parser()._actions if each.choices]
    rows = [f"| `lrp-hooks {c.dest}` | {c.help} |" for c in commands._choices_actions]
    assert page.endswith("\n".join(rows) + "\n")


def test_the_command_line_page_is_what_help_says(site, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    (commands,) = [each for each in command_parser()._actions if each.choices]
    for name, parser in commands.choices.items():
        assert parser.format_help() in site["command-line.html"].text
        assert name in site["command-line.html"].ids
