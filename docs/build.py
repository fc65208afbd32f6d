"""Build the documentation: ``python docs/build.py [OUT]``.

The code of every page is run, which makes the page's pictures; Sphinx does the rest.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
PAGES = [
    page
    for part in (".", "tutorials", "systems", "elsewhere")
    for page in sorted((HERE / part).glob("*.md"))
]
NEEDS = re.compile(r"^<!-- needs: (.*) -->$", re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def missing(page: Path) -> list[str]:
    """Tell which packages a page needs that are not installed.

    Args:
        page: A Markdown file; a comment ``<!-- needs: a b -->`` names modules.

    Returns:
        Their names.
    """
    found = NEEDS.search(page.read_text(encoding="utf-8"))
    names = found[1].split() if found else []
    return [name for name in names if find_spec(name) is None]


def run(page: Path, folder: Path) -> Iterator[str]:
    """Run a page's Python blocks one after the other, in one namespace.

    Args:
        page: A Markdown file.
        folder: Where the code works, and leaves its pictures.

    Yields:
        What each block printed.
    """
    text = page.read_text(encoding="utf-8")
    names = {"__name__": page.stem}
    for block in CODE.finditer(text):
        above = "\n" * text.count("\n", 0, block.start(1))  # for the lines in errors
        code = compile(above + block[1], str(page), "exec")
        with working_in(folder), redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        yield printed.getvalue()


@contextmanager
def working_in(folder: Path) -> Generator[None, None, None]:
    """Work in a folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def copy_sources(folder: Path) -> None:
    """Copy what the site is made of, without anything generated.

    Args:
        folder: A new folder.
    """
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("build", "__pycache__"))


def render(sources: Path, out: Path) -> None:
    """Let Sphinx make the site; a warning is an error.

    Args:
        sources: Pages and their pictures.
        out: The site's folder.
    """
    with TemporaryDirectory() as cache:
        options = ["-q", "-W", "--keep-going", "-E", "-d", cache]
        command = [sys.executable, "-m", "sphinx", *options, sources, out]
        subprocess.run(command, check=True)


def main(out: Path) -> None:
    """Run all pages and build the site.

    Args:
        out: The site's folder.
    """
    with TemporaryDirectory() as folder:
        sources = Path(folder) / "docs"
        copy_sources(sources)
        for page in PAGES:
            absent = missing(page)
            without = f", not run without {', '.join(absent)}" if absent else ""
            print(f"{page.relative_to(HERE)}{without}", flush=True)
            if absent:
                continue
            for _ in run(page, (sources / page.relative_to(HERE)).parent):
                pass
        render(sources, out)
    print(out / "index.html")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "build").resolve())
