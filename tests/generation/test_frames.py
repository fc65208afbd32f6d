"""Rows of models that hear: frames of features, then the tokens that are written."""

import pytest
import torch
from torch.testing import assert_close

from lrp_hooks import ArgumentError, TextError, explain_generation
from sequence_models import (
    assert_rows_are_prefixes,
    sequence_model,
    sequence_tokenizer,
    spectrogram,
)

TOKENIZER = sequence_tokenizer()


def explain(model, prompt, tokenizer=TOKENIZER, **options):
    return explain_generation(model, tokenizer, prompt, **options)


class Processor:
    """A tokenizer, and how long a frame is."""

    tokenizer = TOKENIZER

    class feature_extractor:
        hop_length, sampling_rate = 160, 16000


@pytest.mark.parametrize("processor", [TOKENIZER, Processor()])
def test_frames_of_audio(processor):
    model, features = sequence_model("Whisper"), spectrogram()
    name = "frame {}".format if processor is TOKENIZER else lambda t: f"{t / 100:.2f} s"
    found = explain(model, features, processor, max_new_tokens=3)
    assert found.scores.shape == (len(found.generated), 15 + len(found.generated))
    assert found.encoder == 14 and found.prompt == 15
    assert found.tokens[0][:15] == [*map(name, range(14)), "<s>"]
    assert_close(found.ledger.total, found.output, rtol=0, atol=1e-10)
    assert_rows_are_prefixes(
        model, found, {"input_features": features}, "input_features"
    )
    named = explain(
        model, {"input_features": features}, processor, continuation=found.target
    )
    assert_close(named.scores, found.scores)
    assert found.words().tokens[0][:15] == [*map(name, range(14)), "<s>"]
    assert "<span" in found.to_html() and found.to_terminal()


def test_what_a_speech_model_is_made_to_begin_with_has_rows():
    model = sequence_model("Whisper")
    model.generation_config.forced_decoder_ids = [(1, 5), (2, 6)]
    found = explain(model, spectrogram(), max_new_tokens=2)
    assert found.target.tolist()[:2] == [5, 6] and len(found.generated) == 4


def test_many_frames_are_shown():
    model = sequence_model("Whisper", max_source_positions=1500)
    found = explain(model, spectrogram(frames=3000), continuation=[4, 5])
    assert found.scores.shape == (2, 3003)
    assert len(found.to_html()) < 4e6
    assert "frame 2990" in found.to_terminal(colour=True)
    assert len(found.to_terminal(colour=False).splitlines()) < 20
    pytest.importorskip("matplotlib")
    assert found.plot().axes


@pytest.mark.parametrize(
    "given",
    [
        "the capital of France",
        torch.zeros(5, 14),
        torch.zeros(2, 5, 14),
        {"x": torch.zeros(1, 5, 14)},
        torch.zeros(1, 5, 14).long(),
    ],
)
def test_what_is_no_recording_is_refused(given):
    with pytest.raises(TextError, match="input_features.*wrt="):
        explain(sequence_model("Whisper"), given, max_new_tokens=1)


def test_features_of_another_type_are_refused():
    with pytest.raises(ArgumentError, match="float32 and the model torch.float64"):
        explain(sequence_model("Whisper"), spectrogram().float(), max_new_tokens=1)
