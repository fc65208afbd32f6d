"""Explanations in files: bit by bit the same, or a clear error."""

import json
import math
from dataclasses import dataclass

import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from hand_built import any_text, calm, explanation, relevance, seeds
from lrp_hooks import ArgumentError, Contrast, Explanation, Relevance
from lrp_hooks.results import storage

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

json_able = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(any_text | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@dataclass(kw_only=True, eq=False, repr=False)
class Extended(Explanation):
    """A subclass as third parties write them."""

    extra: torch.Tensor | None = None


def same(a, b):
    """Tell whether two values are the same to the bit, and of the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        bits = [x.contiguous().reshape(-1).view(torch.uint8) for x in (a, b)]
        return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(*bits)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return same(vars(a), vars(b)) if hasattr(a, "__dict__") else a == b


@pytest.fixture(scope="module", params=["safetensors", "json"])
def path(tmp_path_factory, request):
    return tmp_path_factory.mktemp("saved") / f"explanation.{request.param}"


@calm
@given(seeds, st.sampled_from(DTYPES), st.dictionaries(any_text, json_able, max_size=3))
def test_round_trip_of_relevance(path, seed, dtype, meta):
    tokens = [["a", "\ud800", "\0", "", "é"], ["b"]]
    before = relevance(seed=seed, dtype=dtype, tokens=tokens, meta=meta)
    before.save(path)
    after = Explanation.load(path)
    assert type(after) is Relevance
    assert same(after, before)


@calm
@given(
    st.sampled_from([
        None,
        3,
        "label",
        [1, 0],
        (1, 0),
        torch.tensor([1, 0]),
        Contrast(1, [0, 1]),
    ]),
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
)
def test_round_trip_of_any_shape(path, target, shape):
    before = explanation([["a"], ["b"]], target=target)
    before.scores = {
        "x.y": torch.randn(2, *shape),
        "x": torch.ones(2, dtype=torch.bool),
    }
    before.save(path)
    assert same(Explanation.load(path), before)


def test_tensors_that_share_memory_or_have_gaps(path):
    base = torch.arange(8.0).reshape(2, 4)
    before = explanation([["a"], ["b"]], scores=base.T[:2], output=base[:, 0])
    before.meta = {"again": base, "a.b": base, "a": {"b": base + 1}}
    before.save(path)
    assert same(Explanation.load(path), before)


def test_graphs_are_cut(path):
    scores = torch.ones(1, 1, requires_grad=True) * 2
    explanation([["a"]], scores=scores).save(path)
    assert not Explanation.load(path).scores.requires_grad


def test_a_subclass_comes_back_as_itself(path):
    Extended(scores=torch.ones(1, 1), output=torch.ones(1), extra=torch.ones(3)).save(
        path
    )
    after = Extended.load(path)
    assert type(after) is Extended
    assert torch.equal(after.extra, torch.ones(3))


def test_another_class_is_refused(path):
    explanation([["a"]]).save(path)
    with pytest.raises(ArgumentError, match="holds a Explanation, not a Relevance"):
        Relevance.load(path)


def test_a_function_is_saved_as_its_name(path):
    explanation([["a"]], target=torch.sum).save(path)
    assert Explanation.load(path).target == "sum"


def test_what_cannot_be_saved_is_named(path):
    with pytest.raises(ArgumentError, match=r"meta\.thing is a object"):
        explanation([["a"]], meta={"thing": object()}).save(path)
    with pytest.raises(ArgumentError, match=r"meta has the key \(1, 2\)"):
        explanation([["a"]], meta={(1, 2): 0}).save(path)


@pytest.mark.parametrize("ending", ["", ".json"])
def test_a_flipped_bit_is_noticed(tmp_path, ending):
    whole, damaged = tmp_path / f"whole{ending}", tmp_path / f"damaged{ending}"
    before = relevance(tokens=[["a"], ["b"]])
    before.save(whole)
    data = whole.read_bytes()
    noticed = 0
    for i in range(0, len(data), 7):
        damaged.write_bytes(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :])
        try:
            assert same(Explanation.load(damaged), before)
        except ArgumentError as error:
            assert str(damaged) in str(error)
            noticed += 1
    assert noticed > len(data) // 7 * 0.9  # the rest is what JSON does not care about


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_cut_file_is_noticed(path, keep):
    relevance().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArgumentError, match="damaged"):
        Explanation.load(path)


def rewrite(path, **metadata):
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(path.read_text()) | metadata))
        return
    with safetensors.safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        found = file.metadata()
    save_file(tensors, path, {**found, **metadata})


def test_a_newer_file_says_to_upgrade(path):
    relevance().save(path)
    rewrite(path, version="2")
    with pytest.raises(ArgumentError, match="version 2 .* up to 1; upgrade"):
        Explanation.load(path)


def test_other_safetensors_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ArgumentError, match="holds no explanation"):
        Explanation.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "holds no explanation"),
        ('{"a": 1}', "holds no explanation"),
        ('{"format": "lrp_hooks.explanation"}', "damaged"),
        ('{"format": "lrp_hooks.explanation", "version": "7"}', "upgrade lrp_hooks"),
        ('{"format": "lrp_hooks.explanation", "version": [1]}', "damaged"),
        ("PK\x03\x04", "damaged"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_other_json_files_are_refused(tmp_path, text, message):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        Explanation.load(path)


def test_a_number_beyond_its_type_is_damage(tmp_path):
    path = tmp_path / "a.json"
    relevance().save(path)
    whole = json.loads(path.read_text())
    next(iter(whole["tensors"].values()))["values"][0] = 10**400
    path.write_text(json.dumps(whole))
    with pytest.raises(ArgumentError, match="damaged"):
        Explanation.load(path)


@pytest.mark.parametrize(
    "content",
    [
        {"$": "tensor", "name": "nosuch"},
        {"$": "nosuch"},
        {"$": "object", "class": 3, "fields": {}},
        {"$": "float", "value": "1e"},
        3,
    ],
)
def test_content_that_makes_no_sense_is_damage(tmp_path, monkeypatch, content):
    path = tmp_path / "a.json"
    relevance().save(path)
    monkeypatch.setattr("lrp_hooks.results.storage._digest", lambda *_: "forged")
    rewrite(path, content=content, digest="forged")
    with pytest.raises(ArgumentError, match=r"damaged|holds a int"):
        Explanation.load(path)


def test_json_has_no_words_for_numbers(tmp_path):
    meta = {"odd": [math.nan, math.inf, -math.inf, 0.5]}
    before = explanation([["a"]], meta=meta)
    before.save(tmp_path / "a.json")
    json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert same(Explanation.load(tmp_path / "a.json"), before)


def test_json_is_plain_to_read(tmp_path):
    scores = torch.tensor([[0.1, -math.inf, math.nan]], dtype=torch.float32)
    before = explanation([["a", "b", "c"]], scores=scores)
    before.save(tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    listed = found["tensors"]["Explanation.scores"]
    assert listed["dtype"] == "float32" and listed["shape"] == [1, 3]
    assert listed["values"][0] == scores[0, 0].item()
    assert listed["values"][1:] == ["-Infinity", "NaN"]
    assert same(Explanation.load(tmp_path / "a.json"), before)


@pytest.mark.parametrize("name", ["a.pt", "a.pkl", "a.html", "a.tar.gz"])
def test_an_ending_of_another_format_is_refused(tmp_path, name):
    for act in (relevance().save, Explanation.load):
        with pytest.raises(ArgumentError, match=r"ends in '.*'\.safetensors' or"):
            act(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:system", "no explanation"),
        ("lrp_hooks.errors:TextError", "no explanation"),
        ("lrp_hooks.nosuch:Thing", "not known here"),
        ("nosuch:Thing", "not known here"),
    ],
)
def test_a_file_cannot_name_other_classes(tmp_path, name, message, monkeypatch):
    path = tmp_path / "a.safetensors"
    content = {"$": "object", "class": name, "fields": {}}
    monkeypatch.setattr("lrp_hooks.results.storage._digest", lambda *_: "forged")
    save_file(
        {"a": torch.ones(1)},
        path,
        {
            "format": "lrp_hooks.explanation",
            "version": "1",
            "digest": "forged",
            "content": json.dumps(content),
        },
    )
    with pytest.raises(ArgumentError, match=message):
        Explanation.load(path)


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_files_of_version_0_1_name_modules_that_have_moved(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    before = relevance()
    homes = {"Relevance": "lrp_hooks.relevance", "Ledger": "lrp_hooks.relevance"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_home", lambda kind: homes[kind.__qualname__])
        before.save(path)
    assert b"lrp_hooks.relevance:Ledger" in path.read_bytes()
    assert same(Explanation.load(path), before)


def test_files_name_public_classes_by_their_public_home(tmp_path):
    path = tmp_path / "a.json"
    relevance().save(path)
    content = json.loads(path.read_text())["content"]
    assert content["class"] == "lrp_hooks:Relevance"
    assert content["fields"]["ledger"]["class"] == "lrp_hooks:Ledger"


@pytest.mark.parametrize("name", ["nosuch/file", "", "a\0b"])
def test_paths_that_cannot_be_written(tmp_path, name):
    with pytest.raises(ArgumentError, match="cannot be written"):
        relevance().save(f"{tmp_path}/{name}")


def test_paths_that_cannot_be_read(tmp_path):
    for bad in (tmp_path / "nosuch", tmp_path, f"{tmp_path}/a\0b"):
        with pytest.raises(ArgumentError, match="cannot be read"):
            Explanation.load(bad)
    with pytest.raises(ArgumentError, match="it is a folder"):
        Explanation.load(tmp_path)
