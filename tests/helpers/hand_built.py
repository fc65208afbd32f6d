"""Explanations made by hand, and texts that try to break what shows them."""

from __future__ import annotations

import unicodedata

import torch
from hypothesis import settings
from hypothesis import strategies as st

from lrp_hooks import Explanation, Ledger, Relevance

# The first example of a test loads what later ones find loaded.
calm = settings(deadline=None, max_examples=50)

HOSTILE = (
    "<script>alert(1)</script>",
    "</span></p></div></style></title>",
    '" onmouseover="alert(1)',
    "' onload='alert(1)",
    "<!-- ",
    "]]>",
    "&lt;&amp;&#60;&#x202e;",
    "\x00\x07\x1b[31mred\x1b[0m\x7f\x85\x9b",
    "a\nb\r\tc",
    "\u202eoverride",
    "\u2066isolate",
    "\u2069\u2069\u202cclose",
    "\u200eleft\u200fright\u061c",
    "\u2028line\u2029paragraph",
    "مرحبا",
    "שלום",
    "\ud800lone\udfff",
    "\ufffe\uffff",
    "javascript:alert(1)",
    "$\\frac{$",
    "映画",
    "👩‍👩‍👧",
    "{0} %s {{}}",
    "",
    " ",
)

any_text = st.text(st.characters(exclude_categories=()), max_size=12)
hostile_text = st.one_of(any_text, st.sampled_from(HOSTILE))
seeds = st.integers(0, 2**31)


def explanation(tokens: list[list[str]], seed: int = 0, **fields) -> Explanation:
    """Return random scores for tokens."""
    generator = torch.Generator().manual_seed(seed)
    width = max(map(len, tokens))
    fields.setdefault("scores", torch.randn(len(tokens), width, generator=generator))
    fields.setdefault("output", torch.randn(len(tokens), generator=generator))
    fields.setdefault("target", 1)
    fields.setdefault("method", "lrp")
    return Explanation(tokens=tokens, **fields)


def relevance(
    batch: int = 2,
    length: int = 5,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    *,
    image: bool = False,
    **fields,
) -> Relevance:
    """Return relevance whose ledger closes; the second example is padded by two."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    attended = torch.ones(batch, length, dtype=torch.bool)
    if batch > 1 and length > 2:
        attended[1, -2:] = False
    positions = {
        "embeddings.position_embeddings": random(batch, length) * attended,
        "layer.0.value.bias": random(batch, length) * attended,
    }
    sources = {name: part.sum(1) for name, part in positions.items()}
    sources["classifier.bias"] = random(batch)
    sources["layer.0.softmax"] = random(batch)
    values = random(batch, length, 3) * attended[..., None]
    scores = values.sum(-1)
    total = scores.sum(1) + sum(sources.values())
    if image:
        scores, attended = scores[..., None].repeat(1, 1, 2) / 2, None
    fields.setdefault("target", 1)
    return Relevance(
        scores=scores.to(dtype),
        output=total.to(dtype),
        method="lrp",
        values=values.to(dtype),
        layers={"layer.0": random(batch, length, 3).to(dtype)},
        ledger=Ledger(
            inputs=scores.flatten(1).sum(1),
            sources=sources,
            positions=positions,
            output=total.to(dtype),
        ),
        attended=attended,
        **fields,
    )


def shows(seen: str, text: str) -> bool:
    """Tell whether a text is seen as it is, but for stand-ins of what cannot be."""
    return len(seen) == len(text) and all(
        s == t
        or (unicodedata.category(t) in {"Cc", "Cs"} and unicodedata.category(s) == "So")
        or (t == "\u2069" and s == "\ufffd")
        for s, t in zip(seen, text, strict=True)
    )
