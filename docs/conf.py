"""Sphinx's settings, and what the pages need beyond it."""

import os
import posixpath
import re
from functools import partial

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import lrp_hooks
from lrp_hooks.commands.arguments import command_parser

project = "lrp_hooks"
author = "the lrp_hooks authors"
release = version = lrp_hooks.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build"]
default_role = "py:obj"  # `instrument` in a docstring links to it, where it can

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "lrp_hooks"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def add_help(app, docname, source):
    """Append what ``--help`` says, as it is now, to the page on the command line."""
    if docname != "command-line":
        return
    os.environ["COLUMNS"] = "80"  # not as wide as this terminal
    top = command_parser()
    (commands,) = [each for each in top._actions if each.choices]
    for name, parser in commands.choices.items():
        source[0] += f"\n### {name}\n\n```text\n{parser.format_help()}```\n"


def name_outside(app, docname, source):
    """Name the repository's files that pages link to; the site has none of them."""
    folder = posixpath.dirname(f"docs/{docname}")

    def named(link):
        path = posixpath.normpath(posixpath.join(folder, link[2]))
        return link[0] if path.startswith("docs/") else f"{link[1]} (`{path}`)"

    link = r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(?:#[^)\s]*)?\)"
    source[0] = re.sub(link, named, source[0])


def escape_bars(app, what, name, obj, options, lines):
    """Let docstrings write |x| and ``compile``d, which mean something in reST."""
    for number, line in enumerate(lines):
        parts = re.split(r"(``.+?``)", line)  # every other one is a literal
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        parts[2::2] = [re.sub(r"^(?=\w)", r"\ ", part) for part in parts[2::2]]
        lines[number] = "".join(parts)


def frame_pages(app, doctree, docname):
    """Show a picture that is a page of its own, ``![what](page.html)``, in a frame."""
    here = posixpath.dirname(app.builder.get_target_uri(docname))
    for image in list(doctree.findall(nodes.image)):
        if not image["uri"].endswith(".html"):
            continue
        name = app.env.images[image["uri"]][1]
        app.builder.images[image["uri"]] = name  # Sphinx copies what is listed here
        source = posixpath.relpath(f"_images/{name}", here or ".")
        frame = (
            f'<iframe src="{source}" title="{nodes.unescape(image["alt"])}" '
            f'style="height: {image.get("height", "20em")}"></iframe>'
        )
        image.replace_self(nodes.raw("", frame, format="html"))


def write_math(translator, node, block):
    """Write an equation as MathML, which browsers show without any script."""
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def setup(app):
    """Tell Sphinx about the functions above."""
    app.connect("source-read", add_help)
    app.connect("source-read", name_outside)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("doctree-resolved", frame_pages)
    app.add_html_math_renderer(
        "mathml",
        (partial(write_math, block=False), None),
        (partial(write_math, block=True), None),
    )
