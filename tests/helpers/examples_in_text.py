"""Examples in a Markdown text: its code blocks, and what it says that they print."""

import math
import re

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def blocks(text):
    """Return all fenced blocks as (language, code)."""
    return BLOCK.findall(text)


def examples(text):
    """Return all Python blocks as (code, the text block that follows, or None)."""
    found = [*blocks(text), ("", "")]
    return [
        (code, shown if following == "text" else None)
        for (language, code), (following, shown) in zip(found, found[1:], strict=False)
        if language == "python"
    ]


def assert_same_output(printed, shown):
    """Words must agree but for white space, numbers up to what a machine rounds."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (printed, shown)]
    assert words[0] == words[1]
    numbers = [map(float, NUMBER.findall(text)) for text in (printed, shown)]
    for here, there in zip(*numbers, strict=True):
        assert math.isclose(here, there, rel_tol=1e-3, abs_tol=2e-3), printed
