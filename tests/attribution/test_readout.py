"""Targets: what scalar of the output is explained."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from transformers.utils import ModelOutput

from lrp_hooks import Contrast, LrpHooksWarning, TargetError, instrument
from lrp_hooks.attribution.classes import label_ids
from lrp_hooks.attribution.readout import find_logits, select
from small_models import hugging_face
from strategies import build, noise, seeds, tokens

LOGITS = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 6.0]])
MODEL = nn.Module()
MODEL.config = SimpleNamespace(label2id={"bad": 0, "good": 1, "mixed": 2})


def pick(target, output=LOGITS, batch=2, mask=None):
    return select(output, target, MODEL, batch, mask)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, [3.0, 6.0]),
        (0, [1.0, 5.0]),
        ([2, 1], [2.0, 4.0]),
        ((2, 1), [2.0, 4.0]),
        (torch.tensor([2, 1]), [2.0, 4.0]),
        (torch.tensor([2, 1], dtype=torch.int32), [2.0, 4.0]),
        ("good", [3.0, 4.0]),
        (["bad", "mixed"], [1.0, 6.0]),
        (Contrast(1, 0), [2.0, -1.0]),
        (Contrast("mixed", [0, 1]), [1.0, 2.0]),
        pytest.param(lambda out: out.sum(1), [6.0, 15.0], id="function"),
    ],
    ids=str,
)
def test_forms_of_a_target(target, expected):
    assert_close(pick(target).scalar, torch.tensor(expected))


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, torch.zeros(1)),
        [LOGITS],
        {"logits": LOGITS, "loss": torch.zeros(())},
        {"loss": torch.zeros(()), "logits": LOGITS},
        SimpleNamespace(loss=torch.zeros(()), logits=LOGITS),
        SimpleNamespace(prediction_logits=LOGITS, logits=None),
        SimpleNamespace(cls_logits=LOGITS),
        SimpleNamespace(last_hidden_state=LOGITS, logits=None),
        {"first": LOGITS, "second": torch.zeros(2, 3)},
        {"token_embeddings": torch.zeros(2, 4, 3), "sentence_embedding": LOGITS},
        {"nested": ((LOGITS,),)},
    ],
)
def test_where_logits_are(output):
    assert find_logits(output) is LOGITS


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_output_an_example(shape):
    output = torch.tensor([4.0, -5.0]).view(shape)
    for target in (None, 0, [0, 0], torch.tensor([0, 0])):
        assert_close(pick(target, output).scalar, torch.tensor([4.0, -5.0]))
    with pytest.raises(TargetError, match="1 outputs"):
        pick(1, output)


@given(seeds, st.integers(1, 3), st.integers(1, 5), st.data())
def test_sequences_are_read_at_the_last_attended_position(seed, batch, length, data):
    logits = noise(batch, length, 4, seed=seed)
    mask = torch.zeros(batch, length, dtype=torch.long)
    last = []
    for row in range(batch):
        start = data.draw(st.integers(0, length - 1))
        stop = data.draw(st.integers(start, length - 1))
        mask[row, start : stop + 1] = 1
        last.append(stop)
    expected = logits[torch.arange(batch), last]
    assert_close(pick(1, logits, batch, mask).scalar, expected[:, 1])
    best = pick(None, logits, batch, mask)
    assert_close(best.scalar, expected.amax(1))
    assert best.target.tolist() == expected.argmax(1).tolist()
    # Fewer logits than tokens are counted from the end.
    longer = torch.cat([torch.ones(batch, 2, dtype=torch.long), mask], 1)
    assert_close(pick(1, logits, batch, longer).scalar, expected[:, 1])
    assert_close(pick(1, logits, batch).scalar, logits[:, -1, 1])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_language_models_with_padding(family, side):
    model, ids = hugging_face(family, torch.float64), tokens(2, 5)
    mask = torch.ones(2, 5, dtype=torch.long)
    places = slice(0, 2) if side == "left" else slice(3, 5)
    mask[1, places] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, target=[3, 4])
        short = {"input_ids": ids[1:][mask[1:] == 1].view(1, 3)}
        alone = lrp.attribute(short, target=4)
    limit = {"rtol": 1e-5, "atol": 1e-7}
    assert_close(found.output[1:], alone.output, **limit)
    assert_close(found.values[1][mask[1] == 1], alone.values[0], **limit)
    assert (found.values[mask == 0] == 0).all()


def test_fewer_logits_than_tokens():
    model, inputs = hugging_face("gpt2", torch.float64), {"input_ids": tokens(2, 5)}
    with instrument(model) as lrp:
        every = lrp.attribute(inputs, target=3)
        last = lrp.attribute({**inputs, "logits_to_keep": 1}, target=3)
    assert_close(last.values, every.values)


def test_the_chosen_target_is_reported():
    model, ids = build(), tokens(2, 3)
    with instrument(model) as lrp:
        assert torch.equal(lrp.attribute(ids).target, model(ids).argmax(1))
        contrast = lrp.attribute(ids, target=Contrast(1, [0, 2])).target
        assert contrast.a.tolist() == [1, 1]
        assert contrast.b.tolist() == [0, 2]
        both = lrp.attribute(ids, target=Contrast(1, 0))
        parts = [lrp.attribute(ids, target=i) for i in (1, 0)]
    assert_close(both.values, parts[0].values - parts[1].values)


BAD = {
    "target=3 is out of range": 3,
    "target=-1 is out of range": -1,
    "3 entries for 2 examples": [0, 1, 2],
    "1 entries for 2 examples": [0],
    "1.5": 1.5,
    "True": True,
    "'god' is no label.*bad.*mixed.*Did you mean 'good'": "god",
    "'GOODS' is no label.*Did you mean 'good'": "GOODS",
    "float32 tensor": torch.tensor([0.0, 1.0]),
    "bool tensor": torch.tensor([True, False]),
    "shape .2, 1.": torch.tensor([[0], [1]]),
    "0 entries": [],
    "number for each example": lambda out: out,
    "float.*\\(2,\\)": lambda out: 3.0,
    "target=7": Contrast(0, 7),
    "class 1 on both sides in example 0": Contrast("good", 1),
    "class 2 on both sides in example 0": Contrast([2, 2], "mixed"),
    "whole|dict": {"a": 1},
    "nan|float": float("nan"),
}


@pytest.mark.parametrize("message", BAD, ids=lambda m: m[:20])
def test_bad_targets_say_what_came(message):
    with pytest.raises(TargetError, match=f"(?s)target.*{message}|{message}") as caught:
        pick(BAD[message])
    assert "target" in str(caught.value)


def test_a_token_as_the_target_of_a_language_model():
    message = r"target='the'.*tokenizer\.convert_tokens_to_ids\('the'\)"
    with instrument(hugging_face("gpt2")) as lrp:
        with pytest.raises(TargetError, match=message):
            lrp.attribute({"input_ids": tokens(1, 3)}, target="the")


@pytest.mark.parametrize("output", ["text", None, {}, (), 3, {"a": 1}])
def test_an_output_without_a_tensor(output):
    with pytest.raises(TargetError, match="target=a function"):
        pick(None, output)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2), (5,)])
def test_logits_of_another_shape(shape):
    with pytest.raises(TargetError, match="for 2 examples"):
        pick(0, torch.zeros(shape))


def test_labels_of_a_configuration_that_names_classes_alone():
    config = SimpleNamespace(label2id=None, id2label={0: "joy", "1": "fear"})
    model = nn.Linear(2, 2)
    model.config = config
    assert label_ids(model) == {"joy": 0, "fear": 1}
    assert select(torch.eye(2), "fear", model, 2, None).target.tolist() == [1, 1]
    assert label_ids(nn.Linear(2, 2)) == {}


def test_a_contrast_of_some_classes_with_themselves_is_told():
    with pytest.warns(LrpHooksWarning, match="class 2 on both sides in example 1"):
        assert pick(Contrast([0, 2], "mixed")).scalar.tolist() == [-1.0, 0.0]


def test_of_a_mapping_of_several_values_the_first_is_explained_and_told():
    output = {"loss": torch.tensor(1.0), "hidden": LOGITS * 2, "scores": LOGITS}
    with pytest.warns(LrpHooksWarning, match="'hidden', 'scores', and 'hidden' is"):
        found = pick(None, output)
    assert_close(found.scalar, torch.tensor([6.0, 12.0]))


@pytest.mark.parametrize(
    "output",
    [
        {"loss": torch.tensor(1.0), "scores": LOGITS},
        {"hidden": LOGITS, "logits": LOGITS},
        {"scores": LOGITS, "ids": torch.ones(2, 3, dtype=torch.long)},
        (LOGITS, LOGITS),
        ModelOutput(scores=LOGITS, hidden=LOGITS),
    ],
)
@pytest.mark.parametrize("target", [None, lambda _: LOGITS[:, 0]])
def test_of_one_value_or_named_ones_nothing_is_told(output, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pick(target, output)
