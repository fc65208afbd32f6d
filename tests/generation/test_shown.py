"""Words, pages, terminal, figure and files of a generation's explanation."""

import re
from html.parser import HTMLParser

import pytest
import torch
from torch.testing import assert_close

from generation_models import language_model, word_tokenizer
from lrp_hooks import (
    ArgumentError,
    Explanation,
    GenerationExplanation,
    Ledger,
    explain_generation,
)
from lrp_hooks.attribution.readout import Contrast
from lrp_hooks.render.colour import ansi

HOSTILE = "<s> <script>alert(1)</script> \"onclick= '&amp; \u202e\u2069x $y$".split()
PLAIN = "<s> one two three four five".split()


def made(tokens, prompt=3, scores=None, **fields):
    """Build an explanation by hand: any scores, one source that takes the rest."""
    count, size = len(tokens) - prompt, len(tokens)
    places = torch.arange(size)
    attended = places < prompt + torch.arange(count)[:, None]
    if scores is None:
        generator = torch.Generator().manual_seed(0)
        scores = torch.randn(count, size, generator=generator, dtype=torch.float64)
    scores *= attended
    bias = torch.linspace(-1, 1, count).double()
    positions = {"bias": bias[:, None] * (places == prompt - 1)}
    output = scores.sum(1) + bias
    settings = {
        "target": torch.arange(prompt, size),
        "meta": {
            "special": [[token == "<s>" for token in tokens]] * count,
            "labels": dict(enumerate(tokens)),
            "rules": "conservative",
        },
    }
    return GenerationExplanation(
        scores=scores,
        output=output,
        method="lrp",
        tokens=[tokens] * count,
        attended=attended,
        prompt=prompt,
        ledger=Ledger(scores.sum(1), {"bias": bias}, positions, output),
        **(settings | fields),
    )


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements, self.spans, self.styles, self.seen = [], [], [], []
        self.stack = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in {"meta", "wbr", "br"}:
            self.stack.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.stack[-1]
        if tag == "style":
            self.styles.append(data)
        elif "t" in attributes.get("class", "").split():
            self.spans.append((data, attributes))


def shown_by(page, selector):
    """Which columns the style sheet colours under a token's pseudo-class, and how."""
    found = {}
    for when, inner in re.findall(r"\.u\w+:is\((.*?)\)\{(\.k.*?\})\}", page):
        if f":has({selector})" in when:
            for columns, colour in re.findall(
                r"(\.k[^{]*)\{background:var\((.*?)\)", inner
            ):
                names = columns.split(",")
                found |= {int(name.removeprefix(".k")): colour for name in names}
    return found


@pytest.mark.parametrize("tokens", [PLAIN, HOSTILE])
def test_each_token_is_one_span_in_order(tokens):
    page = Page(made(tokens).to_html())
    assert len(page.spans) == len(tokens)
    for (text, attributes), token in zip(page.spans, tokens, strict=True):
        assert "\u2069" in token or text == token
        assert attributes["dir"] == "auto"
    generated = [attributes for _, attributes in page.spans[3:]]
    assert all(attributes["tabindex"] == "0" for attributes in generated)
    assert all("tabindex" not in attributes for _, attributes in page.spans[:3])


def test_a_page_runs_and_fetches_nothing_whatever_the_text():
    kept = {"title", "dir", "class", "style", "aria-label"}
    outlines = []
    for tokens in (PLAIN, HOSTILE):
        text = made(tokens).to_html()
        elements = Page(text).elements
        names = {name for _, attributes in elements for name in attributes}
        assert not any(name.startswith("on") for name in names)
        assert not {tag for tag, _ in elements} & {"script", "a", "img", "link"}
        assert "url(" not in text and "http:" not in text and "@import" not in text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
        fixed = [
            (tag, {k: v for k, v in attributes.items() if k not in kept})
            for tag, attributes in elements
        ]
        outlines.append(fixed)
    assert outlines[0] == outlines[1]


def test_pointing_at_a_token_colours_what_it_drew_on():
    scores = torch.zeros(3, 6).double()
    scores[1] = torch.tensor([90.0, 0.0, -6.0, 3.0, 0.0, 0.0])
    page = made(PLAIN, scores=scores).to_html()
    for how in (".g1:hover", ".g1:focus"):
        # The special token takes more than all, and sets no scale.
        assert shown_by(page, how) == {0: "--p12", 2: "--n12", 3: "--p6"}
    assert shown_by(page, ".g0:hover") == {}
    assert ":not(:has(.made:is(:hover,:focus)))" not in page  # row 0 has no colour
    first = made(PLAIN, scores=scores.flip(0)[[1, 0, 2]]).to_html()
    assert first.count(":not(:has(.made:is(:hover,:focus)))") == 1


def test_pages_stay_small():
    tokens = [f"word{i}" for i in range(3000)]
    for prompt in (2940, 1500):
        page = made(tokens, prompt=prompt)._repr_html_()
        assert len(page) < 4e6
    assert "the 100 tokens that it drew on most" in page


def test_a_page_says_which_model_and_rather_than_what():
    target = Contrast(torch.tensor([3, 4, 5]), torch.tensor([1, 2, 1]))
    meta = {"model": "<i>Model", "rules": "attnlrp", "labels": dict(enumerate(PLAIN))}
    found = made(PLAIN, target=target)
    found.meta.update(meta)
    assert found.rivals == ["one", "two", "one"]
    head = re.search(r"<p>(.*?)</p>", found.to_html())[1]
    names = re.findall(r'class="name" dir="auto">([^<]*)<', head)
    assert names == ["lrp (attnlrp)", "&lt;i&gt;Model", "one", "two"]
    assert made(PLAIN).rivals == [] and "rather" not in made(PLAIN).to_html()


def test_two_fragments_do_not_colour_each_other():
    one, two = (made(PLAIN, scores=torch.full((3, 6), x)) for x in (1.0, -1.0))
    classes = [set(re.findall(r"\.(u\w{8}):", e._repr_html_())) for e in (one, two)]
    assert len(classes[0]) == len(classes[1]) == 1 and classes[0] != classes[1]


def test_the_terminal_adds_up():
    tokens = [*PLAIN, *"six seven eight".split()]
    found = made(tokens, prompt=6)
    blocks = found.to_terminal(colour=False).split("\n\n")
    assert len(blocks) == 3
    for t, block in enumerate(blocks):
        head, *lines = block.splitlines()
        assert head.split() == [tokens[6 + t], f"{float(found.output[t]):+.4f}"]
        total = sum(float(line.split()[-1]) for line in lines)
        assert abs(total - float(found.output[t])) < 1e-3
        assert lines[-2].startswith("  (other tokens)")
        sizes = [abs(float(line.split()[-1])) for line in lines[:-2]]
        assert sizes == sorted(sizes, reverse=True)
    few = made(PLAIN[:4], prompt=3).to_terminal(colour=False)
    assert "(other tokens)" not in few and "(constants)" in few
    coloured = found.to_terminal(colour=True, width=20)
    assert "\x1b[" in coloured and "\x1b" not in blocks[0]
    hostile = made(HOSTILE).to_terminal(colour=False)
    assert not set(hostile) & {"\x1b", "\u202e", "\u2069"}


def test_the_figure_is_the_matrix(tmp_path):
    found = made(HOSTILE)
    figure = found.plot()
    axes = figure.axes[0]
    assert_close(torch.tensor(axes.images[0].get_array().data), found.scores)
    assert len(axes.get_xticklabels()) == len(HOSTILE)
    figure.savefig(tmp_path / "figure.png")
    with pytest.raises(ArgumentError, match="cells"):
        made([f"w{i}" for i in range(2900)], prompt=10).plot()


def test_files_keep_everything(tmp_path):
    found = made(PLAIN, target=Contrast(torch.tensor([3, 4, 5]), torch.tensor([1] * 3)))
    found.save(tmp_path / "found.safetensors")
    back = Explanation.load(tmp_path / "found.safetensors")
    assert type(back) is GenerationExplanation and back.prompt == 3
    assert torch.equal(back.scores, found.scores) and back.tokens == found.tokens
    assert back.targets == found.targets == [f"{w} rather than one" for w in PLAIN[3:]]
    assert torch.equal(back.ledger.error, found.ledger.error)
    assert back.to_html() == found.to_html()


def test_words_merge_rows_and_columns():
    tokens = ["<s>", "▁un", "do", "▁a", "b", "▁c"]
    found = made(tokens, prompt=2)
    words = found.words()
    assert words.tokens[0] == ["<s>", "un", "do", "ab", "c"]
    assert words.generated == words.targets == ["do", "ab", "c"]
    assert words.prompt == 2 and words.special == [True, *[False] * 4]
    expected = torch.zeros(3, 5).double()
    columns, rows = [0, 1, 2, 3, 3, 4], [0, 1, 1, 2]
    for t in range(4):
        for c in range(6):
            expected[rows[t], columns[c]] += found.scores[t, c]
    assert_close(words.scores, expected)
    assert_close(words.scores.sum(1) + words.ledger.sources["bias"], words.output)
    assert_close(words.ledger.error, torch.zeros(3).double(), atol=1e-12, rtol=0)
    assert_close(words.ledger.positions["bias"].sum(1), words.ledger.sources["bias"])
    assert words.attended.tolist() == [
        [True, True, False, False, False],
        [True, True, True, True, False],  # "b" drew on "a"
        [True, True, True, True, False],
    ]
    assert words.to_html().count('tabindex="0"') == 3
    with pytest.raises(ArgumentError, match="words"):
        words.words()


def test_words_of_a_contrast_are_named_with_it():
    tokens = ["<s>", "▁a", "▁b", "c"]
    target = Contrast(torch.tensor([2, 3]), torch.tensor([1, 1]))
    words = made(tokens, prompt=2, target=target).words()
    assert words.targets == ["bc rather than ▁a"]
    target = Contrast(torch.tensor([2, 3]), torch.tensor([1, 3]))
    words = made(tokens, prompt=2, target=target).words()
    assert words.targets == ["bc rather than ▁ac"]


@pytest.mark.parametrize("mark", ["▁", "Ġ"])
def test_what_a_token_is_explained_rather_than_is_a_text_too(mark):
    tokens = ["<s>", f"{mark}a", f"{mark}little", f"{mark}big"]
    found = made(tokens[:3], 2, target=Contrast(torch.tensor([2]), torch.tensor([3])))
    found.meta |= {"subwords": mark, "labels": dict(enumerate(tokens))}
    assert found.targets == [f"{mark}little rather than {mark}big"]
    for shown in (found, found.words()):
        assert shown.to_terminal(colour=False).startswith("little rather than big  ")


def test_a_real_explanation_is_shown():
    found = explain_generation(
        language_model("GPT2"), word_tokenizer(), "the capital of", max_new_tokens=3
    )
    assert [text for text, _ in Page(found.to_html()).spans] == found.tokens[0]
    assert "(constants)" in found.to_terminal(colour=False)
    assert found.words().scores.shape == found.scores.shape


STRONG = torch.zeros(3, 6).double()
STRONG[1] = torch.tensor([90.0, 1.0, -6.0, 3.0, 0.0, 0.0])


def test_a_title_has_the_output_and_what_it_drew_on_most():
    tokens = [*PLAIN, *"six seven eight".split()]
    found = made(tokens, prompt=6)
    titles = [given["title"] for _, given in Page(found.to_html()).spans[6:]]
    for t, title in enumerate(titles):
        name, output, drawn = re.fullmatch(
            r"(\w+): (\S+) = (.*); \.\.\.", title
        ).groups()
        assert name == tokens[6 + t]
        assert float(output) == pytest.approx(found.output[t].item(), abs=1e-4)
        row = found.scores[t].tolist()
        order = sorted(range(len(row)), key=lambda c: -abs(row[c]))[:5]
        parts = [part.split(" ") for part in drawn.split("; ")]
        assert [token for token, _ in parts] == [tokens[c] for c in order]
        numbers = [float(number) for _, number in parts]
        assert numbers == pytest.approx([row[c] for c in order], abs=1e-4)


def test_the_legend_goes_from_against_to_for():
    steps = re.findall(r'class="step (\w+)"', made(PLAIN).to_html())
    below, above = [f"n{n}" for n in range(12, 0, -1)], [f"p{n}" for n in range(1, 13)]
    assert steps == [*below, "z", *above]


def test_the_terminal_colours_what_a_token_drew_on():
    blocks = made(PLAIN, scores=STRONG).to_terminal(colour=True, width=80).split("\n\n")
    # The special token takes more than all, and sets no scale.
    levels = {"<s>": 12, "one": 2, "two": -12, "three": 6}
    colours = [ansi(x, step, dim=x == "<s>") for x, step in levels.items()]
    assert blocks[1].splitlines()[1:] == [" ".join(colours)]


def test_the_figure_is_centred_and_says_where_the_prompt_ends():
    axes = made(PLAIN, scores=STRONG).plot().axes[0]
    assert axes.images[0].get_clim() == (-6, 6)
    assert [label.get_text() for label in axes.get_yticklabels()] == PLAIN[3:]
    assert [label.get_text() for label in axes.get_xticklabels()] == PLAIN
    (border,) = axes.lines
    assert set(border.get_xdata()) == {2.5}  # between the third column and the fourth
    low, high = (axes.images[0].cmap(end) for end in (0.0, 1.0))
    assert low[2] > low[0] and high[0] > high[2]  # blue below, vermilion above
