"""Files hold every number there is, and load only what has the types it should."""

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hand_built import calm, explanation, relevance
from lrp_hooks import ArgumentError, Explanation, Ledger, Relevance
from lrp_hooks.results import storage
from lrp_hooks.results.containers import packable
from lrp_hooks.support.hints import misfit

BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}
ODD = (math.nan, -math.nan, math.inf, -math.inf, -0.0, 5e-324)


def equal(a, b):
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(
        a.nan_to_num(0.5), b.nan_to_num(0.5)
    )


@calm
@given(st.sampled_from([*BITS]), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2))
def test_any_bits_are_numbers_that_load_again(tmp_path_factory, dtype, bits):
    """NaNs have a sign and a payload; the processor's own is negative."""
    width = torch.iinfo(BITS[dtype]).bits
    half = 2 ** (width - 1)
    values = torch.tensor([(b + half) % (2 * half) - half for b in bits])
    scores = values.to(BITS[dtype]).view(dtype)[None]
    before = explanation([["a"]], scores=scores, meta={"odd": scores})
    folder = tmp_path_factory.mktemp("bits")
    for name in ("a.json", "a.safetensors"):
        before.save(folder / name)
        after = Explanation.load(folder / name)
        assert equal(after.scores, scores)
        assert after.scores.dtype == dtype
    assert torch.equal(after.scores.view(BITS[dtype]), scores.view(BITS[dtype]))


@pytest.mark.parametrize("ending", ["json", "safetensors"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_numbers_in_every_field(tmp_path, ending, odd):
    before = relevance(tokens=[["a"], ["b"]])
    path = tmp_path / f"a.{ending}"

    def filled(value):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return torch.full_like(value, odd)
        if isinstance(value, dict):
            return {key: filled(own) for key, own in value.items()}
        if isinstance(value, Ledger):
            return Ledger(**{k: filled(v) for k, v in vars(value).items()})
        return value

    fields = {
        f.name: filled(getattr(before, f.name)) for f in dataclasses.fields(before)
    }
    fields["meta"] = {"a": odd, "b": [odd], "c": (odd,), "d": {odd: odd}}
    fields["target"] = odd
    before = Relevance(**fields)
    before.save(path)
    after = Relevance.load(path)
    assert equal(after.values, before.values) and equal(after.output, before.output)
    assert equal(after.ledger.output, before.ledger.output)
    assert repr((after.meta, after.target)) == repr((before.meta, before.target))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.uint16])
def test_what_json_cannot_hold_is_refused_before_it_is_written(tmp_path, dtype):
    before = explanation([["a"]], meta={"more": torch.ones(2).to(dtype)})
    with pytest.raises(ArgumentError, match=r"meta\.more holds torch\..*safetensors"):
        before.save(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def forged(path, **fields):
    """Write a file that is signed, with other things in some fields."""
    relevance(tokens=[["a"], ["b"]]).save(path)
    whole = json.loads(path.read_text())
    content = whole["content"]
    content["fields"] |= fields
    tensors = {
        name: torch.tensor(
            [math.nan if v == "NaN" else v for v in own["values"]],
            dtype=getattr(torch, own["dtype"]),
        ).reshape(own["shape"])
        for name, own in whole["tensors"].items()
    }
    whole["digest"] = storage._digest(json.dumps(content), packable(path, tensors))
    path.write_text(json.dumps(whole))


LABELS = {"$": "dict", "items": [["labels", {"$": "dict", "items": [[1, 2]]}]]}
SPECIAL = {"$": "dict", "items": [["special", "yes"]]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scores": "abc"}, "Relevance.scores is a str"),
        ({"output": [1.0, 2.0]}, "Relevance.output is a list, no Tensor"),
        ({"output": None}, "Relevance.output is a NoneType, no Tensor"),
        ({"method": 3}, "Relevance.method is a int, no str"),
        ({"tokens": [["a"], [3]]}, "Relevance.tokens is a list, no list"),
        ({"tokens": "ab"}, "Relevance.tokens is a str"),
        ({"attended": True}, "Relevance.attended is a bool"),
        ({"meta": []}, "Relevance.meta is a list"),
        ({"meta": SPECIAL}, r"Relevance.meta\['special'\] is a str"),
        ({"meta": LABELS}, r"an entry of Relevance.meta\['labels'\] is a int, no str"),
        ({"layers": [1]}, "Relevance.layers is a list, no dict"),
        ({"ledger": 3}, "Relevance.ledger is a int, no Ledger"),
    ],
)
def test_a_signed_file_of_other_types_is_refused(tmp_path, fields, message):
    path = tmp_path / "a.json"
    forged(path)
    assert Explanation.load(path).method
    forged(path, **fields)
    with pytest.raises(ArgumentError, match=f"a.json.*damaged.*{message}"):
        Explanation.load(path)


@pytest.mark.parametrize(
    ("value", "hint", "fits"),
    [
        (1, float, True),
        (True, int, False),
        (1.0, int, False),
        ([1, 2], list[int], True),
        ([1, "a"], list[int], False),
        ((1, "a"), tuple[int, str], True),
        ((1,), tuple[int, str], False),
        ((1, 2, 3), tuple[int, ...], True),
        ({1: ["a"]}, dict[int, list[str]], True),
        ({"1": ["a"]}, dict[int, list[str]], False),
        (None, int | None, True),
        ("a", int | None, False),
    ],
)
def test_values_and_hints(value, hint, fits):
    assert (misfit(value, hint, "it") is None) == fits
