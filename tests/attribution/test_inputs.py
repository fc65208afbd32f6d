"""What is taken for the inputs of a model, and what is refused by name."""

import warnings
from collections import UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lrp_hooks import (
    ArgumentError,
    LrpHooksWarning,
    UnsupportedModelError,
    explain,
    instrument,
)
from lrp_hooks.engine.subject import Subject
from sequence_models import sequence_model, spectrogram
from strategies import noise

IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


@dataclass(frozen=True)
class Batch:
    input_ids: torch.Tensor
    scale: float = 1.0


class Sentences(nn.Module):
    """Takes one mapping or dataclass, as models of sentence-transformers do."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.embedding, self.head = nn.Embedding(10, 4), nn.Linear(4, 2)
        self.double()

    def forward(self, features):
        if isinstance(features, Batch):
            features = vars(features)
        features["token_embeddings"] = self.embedding(features["input_ids"])
        return self.head(torch.tanh(features["token_embeddings"]).mean(1))


class WithOptions(Sentences):
    def forward(self, features, **options):
        return super().forward(features)


class Floats(nn.Module):
    """Takes one container of floats."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.double()

    def forward(self, batch):
        x, gain = (batch["x"], batch["gain"]) if hasattr(batch, "keys") else batch
        return self.head(torch.tanh(self.first(x)) * gain)


def by_hand(model):
    """Return the conservative relevance: tanh passes on what comes to it."""
    embedded = model.embedding(IDS)
    slope = torch.tanh(embedded) / embedded
    return embedded * slope * model.head.weight[1] / 3


Tokens = namedtuple("Tokens", ["input_ids"])
ONE_ARGUMENT = {
    "mapping": {"input_ids": IDS},
    "tuple of it": ({"input_ids": IDS},),
    "by name": {"features": {"input_ids": IDS}},
    "user's": UserDict(input_ids=IDS),
    "dataclass": Batch(IDS),
    "more in it": {"scale": 2.0, "attention_mask": torch.ones(2, 3), "input_ids": IDS},
}


@pytest.mark.parametrize("kind", [Sentences, WithOptions])
@pytest.mark.parametrize("given", ONE_ARGUMENT)
def test_a_model_of_one_argument(given, kind):
    model, inputs = kind(), ONE_ARGUMENT[given]
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, 1)
    torch.testing.assert_close(found.values, by_hand(model).detach())
    assert found.ledger.error.max() < 1e-12
    assert "token_embeddings" not in getattr(inputs, "keys", tuple)()


@pytest.mark.parametrize("kind", [dict, UserDict, tuple, list, namedtuple])
def test_floats_in_one_argument(kind):
    x, gain = noise(2, 4), noise(2, 4, seed=1)
    pair = namedtuple("Pair", ["x", "gain"])
    named = kind in {dict, UserDict}
    inputs = kind(x=x, gain=gain) if named else (x, gain)
    inputs = pair(x, gain) if kind is namedtuple else inputs
    inputs = [x, gain] if kind is list else inputs
    model = Floats()
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, 1)
    assert set(found.values) == ({"x", "gain"} if named else {"batch", "input_1"})
    assert found.ledger.error.max() < 1e-12
    hidden = torch.tanh(model.first(x)) * gain * model.head.weight[1]
    gain_of = list(found.values.values())[1]
    torch.testing.assert_close(gain_of, (hidden / 2).detach())


def test_keywords_stay_keywords():
    class Two(nn.Module):
        def forward(self, x, gain=1.0):
            return x * gain

    with instrument(Two()) as lrp:
        found = lrp.attribute({"x": noise(2, 3), "gain": 2.0}, 0)
        with pytest.raises(TypeError, match="unexpected keyword"):
            lrp.attribute({"x": noise(2, 3), "gian": 2.0}, 0)
    assert found.values.shape == (2, 3)


def net(**options):
    return nn.Sequential(nn.Linear(4, 4, **options), nn.GELU(), nn.Linear(4, 2)).eval()


def jagged(layout):
    rows = [torch.randn(3, 4), torch.randn(5, 4)]
    return torch.nested.nested_tensor(rows, layout=layout)


OTHERS = {
    "nested jagged": lambda: jagged(torch.jagged),
    "nested strided": lambda: jagged(torch.strided),
    "sparse_coo": lambda: torch.eye(4).to_sparse(),
    "sparse_csr": lambda: torch.eye(4).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2, 4), 1, 0, torch.qint8),
    "float8_e4m3fn": lambda: torch.ones(2, 4).to(torch.float8_e4m3fn),
    "meta": lambda: torch.ones(2, 4, device="meta"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", OTHERS)
def test_tensors_that_nothing_is_read_at(kind):
    with instrument(net()) as lrp:
        with pytest.raises(ArgumentError, match=f"a {kind.split()[0]} tensor"):
            lrp.attribute(OTHERS[kind](), lambda out: out.sum(1))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.int64, torch.bool, torch.complex64], ids=str
)
def test_types_that_the_weights_do_not_have(dtype):
    with instrument(net()) as lrp:
        with pytest.raises(ArgumentError, match=f"may come from inputs .*{dtype}"):
            lrp.attribute(torch.ones(2, 4).to(dtype), 0)


@pytest.mark.parametrize("shape", ["T5", "Whisper"])
def test_an_encoder_decoder_is_told_what_it_has_written(shape):
    model = sequence_model(shape)
    inputs = {"input_ids": torch.tensor([[3, 4]])}
    if shape == "Whisper":
        inputs = {"input_features": spectrogram()}
    lacks = "without decoder_input_ids: pass"
    with pytest.raises(ArgumentError, match=lacks):
        explain(model, inputs)
    with instrument(model) as lrp, pytest.raises(ArgumentError, match=lacks):
        lrp.attribute(inputs)
    start = torch.tensor([[model.config.decoder_start_token_id]])
    found = explain(model, {**inputs, "decoder_input_ids": start})
    assert found.ledger.error.item() < 1e-8


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64], ids=str)
def test_ids_that_are_none(dtype):
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    with instrument(model) as lrp:
        with pytest.raises(ArgumentError, match=r"token ids are torch\.int64"):
            lrp.attribute(torch.ones(2, 3).to(dtype), 0)


def test_complex_numbers_are_not_called_integers():
    class Magnitude(nn.Module):
        def forward(self, x):
            return x.abs()

    with instrument(Magnitude()) as lrp:
        with pytest.raises(ArgumentError, match=r"inputs are torch\.complex64"):
            lrp.attribute(torch.ones(2, 3, dtype=torch.complex64), 0)


@pytest.mark.filterwarnings("ignore::lrp_hooks.errors.UnruledWarning")
def test_a_constant_may_be_sparse():
    class Graph(nn.Module):
        def forward(self, x, edges):
            return torch.sparse.mm(edges, x)

    x, edges = noise(4, 3), torch.eye(4, dtype=torch.float64).to_sparse()
    with instrument(Graph()) as lrp:
        found = lrp.attribute((x, edges), 1)
    expected = torch.zeros_like(x)
    expected[:, 1] = x[:, 1]
    torch.testing.assert_close(found.values, expected)


@pytest.mark.parametrize("where", ["model", "first", "last", "buffer"])
def test_models_on_the_meta_device(where):
    model = net()
    if where == "model":
        model.to("meta")
    if where == "buffer":
        model.insert(1, nn.BatchNorm1d(len(model[0].weight)))
        model[1].running_mean = model[1].running_mean.to("meta")
    if where in {"first", "last"}:
        model[0 if where == "first" else -1].to("meta")
    with instrument(model) as lrp:
        with pytest.raises(UnsupportedModelError, match="is on the meta device"):
            lrp.attribute(torch.ones(2, 4), 0)


def test_another_default_device_changes_no_rule():
    class Rms(nn.Module):
        def forward(self, x):
            return x / (x.square().mean(-1, keepdim=True) + torch.zeros(())).sqrt()

    class Swish(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(torch.ones(()) * x)

    model = nn.Sequential(Rms(), Swish())
    with instrument(model) as lrp:
        expected = [row.rule for row in lrp.coverage.rows]
    with torch.device("meta"):
        copied = nn.Sequential(Rms(), Swish())
        with instrument(copied) as lrp:
            assert [row.rule for row in lrp.coverage.rows] == expected


@pytest.mark.parametrize("inputs", [noise(2, 4).numpy(), 5, None], ids=repr)
def test_what_is_no_tensor(inputs):
    with instrument(net()) as lrp:
        with pytest.raises(ArgumentError, match="must be a tensor, a tuple"):
            lrp.attribute(inputs, 0)


def test_what_a_forward_takes_is_looked_up_again_where_it_is_another_one():
    subject = Subject(nn.Linear(1, 1))
    assert list(subject.signature.parameters) == ["input"]
    subject.model.forward = lambda x, scale: x * scale
    assert list(subject.signature.parameters) == ["x", "scale"]
    subject.model.forward = nn.Identity.forward.__get__(subject.model)
    assert list(subject.signature.parameters) == ["input"]


def test_a_name_of_a_module_and_of_an_input_is_told():
    class Tabular(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.num = nn.Embedding(20, 8), nn.Linear(3, 8)
            self.out = nn.Linear(8, 2)

        def forward(self, ids, num):
            return self.out(torch.relu(self.table(ids).mean(1) + self.num(num)))

    given = {"ids": torch.tensor([[1, 2, 3]]), "num": torch.randn(1, 3)}
    with instrument(Tabular()) as lrp:
        with pytest.warns(LrpHooksWarning, match="wrt='num' is the name of a module"):
            found = lrp.attribute(given, 0, wrt=["ids", "num"])
        assert found.scores["num"].shape == (1, 8)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert lrp.attribute(given, 0).scores["num"].shape == (1, 3)
