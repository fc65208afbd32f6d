"""The lines of a text are lines on the page, in the terminal and in figures."""

import html as markup
import re

import pytest
import torch
import transformers

from generation_models import language_model
from hand_built import explanation
from lrp_hooks import AttentionMaps, Explanation, compare, explain, explain_generation
from lrp_hooks.render.glyphs import written
from shared_models import sentiment
from tokenizer_families import family

TEXT = "Once upon a time.\n\nLily was sad.\nTom said"
TOKENS = {
    "byte-level": ["Once", "Ġupon", ".ĊĊ", "Lily", "Ġsad", "Ċ", "Tom"],
    "SentencePiece": [
        "▁Once",
        "▁upon.",
        "<0x0A>",
        "<0x0A>",
        "Lily",
        "▁sad",
        "<0x0A>",
        "Tom",
    ],
    "texts": ["Once", " upon.", "\n\nLily", " sad", "\nTom"],
}


def lines_on(page):
    """The lines of the text on a page, tokens parted by spaces."""
    (text,) = re.findall(r'<p class="text[^>]*>(.*?)</p>', page, re.DOTALL)[:1]
    assert re.search(r"\.text \{[^}]*white-space: pre-line", page)
    plain = markup.unescape(re.sub("<[^>]+>", "", text))
    return [line.strip() for line in plain.split("\n")]


def plain(terminal):
    return re.sub(r"\x1b\[[\d;]*m", "", terminal)


def rows_of(figure):
    """The tokens in each row of a figure's first panel."""
    rows = {}
    for text in figure.axes[0].texts:
        rows.setdefault(text.get_position()[1], []).append(text.get_text())
    return rows


def known():
    """An explanation of a text with line breaks, in tokens."""
    model, tokenizer = sentiment()
    return explain(model, TEXT, tokenizer=tokenizer)


def test_words_of_a_text_stand_in_its_lines():
    found = known().words()
    wanted = ["[CLS] Once upon a time.", "", "Lily was sad.", "Tom said [SEP]"]
    assert lines_on(found.to_html()) == wanted
    assert lines_on(found._repr_html_()) == wanted
    shown = plain(found.to_terminal(colour=True, width=200))
    assert "\n".join(wanted) in shown
    rows = rows_of(found.plot())
    assert [" ".join(row) for row in rows.values()] == [w for w in wanted if w]
    assert sorted(rows) == [0.5, 2.5, 3.5]


def test_tokens_of_a_text_stand_in_its_lines():
    lines = lines_on(known().to_html())
    assert [line.split()[-1] for line in lines if line] == [".", ".", "[SEP]"]
    assert lines[1] == "" and len(lines) == 4


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_alone_break_lines_too(name):
    found = explanation([TOKENS[name]])
    assert len(lines_on(found.to_html())) == 4
    lines = ["Once upon.", "", "Lily sad", "Tom"]
    assert lines_on(found.words().to_html()) == lines


def test_a_saved_explanation_has_its_lines(tmp_path):
    found = known()
    for each in (found, found.words()):
        for ending in ("json", "safetensors"):
            each.save(tmp_path / f"one.{ending}")
            again = Explanation.load(tmp_path / f"one.{ending}")
            assert again.to_html() == each.to_html()
            assert again.words().tokens == found.words().tokens


def test_compared_methods_have_the_words_of_the_text():
    model, tokenizer = sentiment()
    found = compare(
        model, TEXT, ("lrp", "gradient_x_input"), tokenizer=tokenizer, target=1
    )
    for each in found.explanations.values():
        assert each.words().tokens[0] == ["[CLS]", *TEXT.split(), "[SEP]"]
    assert len(lines_on(found.to_html(rows="methods"))) == 4


def test_files_for_others_have_the_words():
    pytest.importorskip("pandas")
    frame = known().words().to_dataframe()
    assert list(frame.token) == ["[CLS]", *TEXT.split(), "[SEP]"]


def generated(**how):
    tokenizer = family("Llama 3's split")
    model = language_model("Llama", torch.float32, vocab_size=len(tokenizer))
    model.config.max_position_embeddings = 64
    return explain_generation(model, tokenizer, TEXT, **how)


def test_a_prompt_stands_in_its_lines():
    found = generated(continuation="\nthat sad\nfilm").words()
    assert found.tokens[0] == [*TEXT.split(), "that", "sad", "film"]
    assert found.generated == ["that", "sad", "film"]
    lines = ["Once upon a time.", "", "Lily was sad.", "Tom said", "that sad", "film"]
    assert lines_on(found.to_html()) == lines
    shown = plain(found.to_terminal(colour=True, width=200))
    assert "\n".join(lines[:-1]) in shown


def test_what_a_model_writes_follows_the_prompt():
    found = generated(max_new_tokens=4)
    assert "".join(found.meta["pieces"][0][: found.prompt]) == TEXT
    words = found.words()
    assert words.tokens[0][: words.prompt] == TEXT.split()
    assert lines_on(words.to_html())[:3] == ["Once upon a time.", "", "Lily was sad."]


def test_attention_stands_in_the_lines_of_its_tokens():
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=9,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            attn_implementation="eager",
        )
    ).eval()
    maps = AttentionMaps.of(model, {"input_ids": torch.arange(4)[None]})
    page = maps.to_html(["Once", ".ĊĊ", "Lily", "Ġwas"])
    assert lines_on(page) == ["Once .ĊĊ", "", "Lily Ġwas"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\U0001f469", "<woman>"),
        ("\U00013000", "<egyptian hieroglyph a001>"),
        ("\ue123", "<U+E123>"),
        ("\uffff", "<U+FFFF>"),
        ("\U0002a6d6", "<U+2A6D6>"),
    ],
)
@pytest.mark.filterwarnings("error:Glyph:UserWarning")
def test_what_no_font_has_is_written_by_name(text, shown):
    pytest.importorskip("matplotlib")
    if written(text) == text != shown:
        pytest.skip("a font has it")
    assert written(text) == shown
    drawn = explanation([[text]]).plot()
    assert drawn.axes[0].texts[0].get_text() == shown
    drawn.canvas.draw()
