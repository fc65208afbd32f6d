"""Long texts: rows as they are done, interrupted and taken up again, kept small."""

import json

import pytest
import safetensors
import torch
from torch.testing import assert_close

from generation_models import language_model, word_tokenizer
from lrp_hooks import (
    ArgumentError,
    GenerationExplanation,
    GenerationInterrupted,
    LeafRule,
    explain_generation,
    register,
)
from lrp_hooks.generation import passes
from lrp_hooks.results.prefixes import Prefixes
from sequence_models import sequence_model

PROMPT = "the capital of France is"
WRITTEN = [7, 3, 9, 4, 8, 6, 2, 5]


def explained(model=None, written=WRITTEN, **options):
    model = model or language_model("GPT2", n_positions=128)
    given = {"continuation": written, **options}
    return explain_generation(model, word_tokenizer(), PROMPT, **given)


def assert_same(found, right, **close):
    assert_close(found.scores, right.scores, **close)
    assert_close(found.output, right.output, **close)
    assert_close(found.ledger.inputs, right.ledger.inputs, **close)
    assert_close(found.ledger.sources, right.ledger.sources, **close)
    positions = [dict(e.ledger.positions) for e in (found, right)]
    assert_close(*positions, **close)
    assert found.tokens == right.tokens
    assert found.prompt == right.prompt
    assert torch.equal(found.attended, right.attended)


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_rows_come_as_they_are_done(chunk):
    came = []
    found = explained(chunk=chunk, on_row=lambda t, row: came.append((t, row)))
    assert [t for t, _ in came] == list(range(len(WRITTEN)))
    for t, row in came:
        assert torch.equal(row.scores, found.scores[t])
        assert row.output == float(found.output[t])
        sources = {n: float(v[t]) for n, v in found.ledger.sources.items()}
        assert {k: v for k, v in row.sources.items() if v} == {
            k: v for k, v in sources.items() if v
        }
        assert_close(
            float(row.scores.sum()) + sum(row.sources.values()),
            row.output,
            rtol=1e-9,
            atol=1e-9,
        )


@pytest.mark.parametrize("shape", ["GPT2", "Llama", "T5"])
def test_blocks_are_the_pass_over_the_whole_text(shape, monkeypatch):
    if shape == "T5":
        model = sequence_model("T5")
    else:
        sizes = {"n_positions": 128, "max_position_embeddings": 128}
        model = language_model(shape, **sizes)
    written = [3 + (7 * t) % 16 for t in range(40)]
    monkeypatch.setattr(passes, "LONG", 8)
    blocks = explained(model, written)
    monkeypatch.setattr(passes, "LONG", 1000)
    whole = explained(model, written)
    assert blocks.meta["forward_passes"] > 2
    assert whole.meta["forward_passes"] == 1
    assert_same(blocks, whole, rtol=1e-9, atol=1e-11)
    assert (blocks.ledger.error < 1e-10).all()


def interrupt_at(row):
    def on_row(t, _):
        if t == row:
            raise KeyboardInterrupt

    return on_row


@pytest.mark.parametrize("contrast", [None, "Paris"])
@pytest.mark.parametrize("row", [0, 3, 6])
def test_what_is_done_is_kept_and_taken_up_again(row, contrast):
    whole = explained(contrast=contrast)
    with pytest.raises(KeyboardInterrupt) as caught:
        explained(contrast=contrast, chunk=2, on_row=interrupt_at(row))
    assert isinstance(caught.value, GenerationInterrupted)
    partial = caught.value.partial
    done = len(partial.output)
    assert row < done <= row + 2
    assert torch.equal(partial.ledger.total, partial.ledger.total)
    assert_close(partial.scores, whole.scores[:done, : whole.prompt + done])
    assert partial.generated == whole.generated[:done]
    came = []
    resumed = explained(
        contrast=contrast, resume=partial, on_row=lambda t, _: came.append(t)
    )
    assert came == list(range(done, len(WRITTEN)))
    assert_same(resumed, whole, rtol=1e-10, atol=1e-12)
    assert "rest" not in resumed.meta


def test_a_model_does_not_write_again(tmp_path):
    model = language_model("GPT2")
    whole = explained(model, None, max_new_tokens=4)
    with pytest.raises(GenerationInterrupted) as caught:
        explained(model, None, max_new_tokens=4, chunk=1, on_row=interrupt_at(1))
    caught.value.partial.save(tmp_path / "part.safetensors")
    partial = GenerationExplanation.load(tmp_path / "part.safetensors")
    model.generate = None
    resumed = explained(model, None, max_new_tokens=4, resume=partial)
    assert_same(resumed, whole, rtol=1e-10, atol=1e-12)


def test_an_interrupt_in_a_backward_pass():
    class Interrupted(LeafRule):
        calls = 0

        def relevance(self, module, x, y, grad):
            Interrupted.calls += 1
            if Interrupted.calls > 2:
                raise KeyboardInterrupt
            return grad * y / x

    model = language_model("Llama")
    register(type(model.model.layers[0].mlp.act_fn), overwrite=True)(Interrupted)
    with pytest.raises(GenerationInterrupted) as caught:
        explained(model, chunk=1)
    assert caught.value.partial is not None
    assert len(caught.value.partial.output) == 1


def test_before_the_first_row_nothing_is_kept():
    model = language_model("Llama")

    def stop(*_):
        raise KeyboardInterrupt

    handle = model.model.layers[0].register_forward_hook(stop)
    with pytest.raises(GenerationInterrupted, match="0 of 8") as caught:
        explained(model)
    handle.remove()
    assert caught.value.partial is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"continuation": [3, *WRITTEN[1:]]}, "continuation"),
        ({"contrast": "Paris"}, "contrast"),
        ({"rules": "attnlrp"}, "rules"),
    ],
)
def test_rows_of_something_else_are_refused(options, named):
    whole = explained()
    with pytest.raises(ArgumentError, match=f"another .*{named}"):
        explained(resume=whole, **options)


@pytest.mark.parametrize("resume", ["rows", {"scores": 1}])
def test_what_is_no_explanation_is_refused(resume):
    with pytest.raises(ArgumentError, match="resume is a"):
        explained(resume=resume)


def test_merged_words_are_refused():
    with pytest.raises(ArgumentError, match="not merged to words"):
        explained(resume=explained().words())


def test_tokens_stand_once_in_a_file(tmp_path):
    found = explained()
    path = tmp_path / "found.safetensors"
    found.save(path)
    with safetensors.safe_open(path, "pt") as file:
        content = file.metadata()["content"]
    assert content.count(json.dumps("France")) <= 3  # a token, its piece, its label
    loaded = GenerationExplanation.load(path)
    assert_same(loaded, found, rtol=0, atol=0)
    assert loaded.meta == found.meta


def test_no_bar_off_a_terminal(capsys):
    explained()
    assert capsys.readouterr().err == ""


def test_prefixes_are_what_stands_before():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 7, generator=generator)
    kept = Prefixes.of({"a": matrix, "b": 2 * matrix}, 3, 8)
    expected = torch.zeros(4, 8)
    for t in range(4):
        expected[t, : 3 + t] = matrix[t, : 3 + t]
    assert torch.equal(kept["a"], expected)
    assert torch.equal(kept["b"], 2 * expected)
    assert list(kept) == ["a", "b"]
    assert sum(v.numel() for v in kept.rows.values()) == 2 * (3 + 4 + 5 + 6)
