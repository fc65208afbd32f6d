"""`attribute` runs the model once, on inputs that it leaves as they came."""

import copy
import warnings

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from hand_built import calm
from lrp_hooks import ArgumentError, UnruledError, UnruledWarning, instrument
from small_models import hugging_face
from strategies import build, noise, seeds, tokens

SIZES = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
IDS = tokens(2, 6)


def language_model(name="Llama", **options):
    torch.default_generator.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **options)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def mixture():
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    return language_model("GptOss", **experts, attn_implementation="eager")


class Wrapper(nn.Module):
    def __init__(self, model, change=torch.clone):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, input_ids, past_key_values=None):
        ids = self.change(input_ids)
        return self.model(input_ids=ids, past_key_values=past_key_values)


def filled(model, graph=False):
    cache = transformers.DynamicCache(config=model.config)
    with torch.set_grad_enabled(graph):
        model(IDS[:, :3], past_key_values=cache)
    return cache


def held(cache):
    return [t for layer in cache.layers for t in (layer.keys, layer.values)]


def counted(model):
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("kind", ["llama", "mixture", "wrapper", "other ids"])
def test_a_cache_is_left_as_it_came(kind, graph):
    inner = mixture() if kind == "mixture" else language_model()
    model = {
        "wrapper": lambda: Wrapper(inner),
        "other ids": lambda: Wrapper(inner, lambda ids: (ids + 1) % 30),
    }.get(kind, lambda: inner)()
    with torch.no_grad():
        right = model(IDS[:, 3:], past_key_values=filled(inner)).logits[:, -1]
    cache = filled(inner, graph)
    before = [t.detach().clone() for t in held(cache)]
    inputs = {"input_ids": IDS[:, 3:], "past_key_values": cache}
    with instrument(model, strict=True) as lrp:
        for target in (7, 8):
            found = lrp.attribute(inputs, target)
            assert_close(found.output, right[:, target])
            assert (found.ledger.error < 1e-5).all()
        audit = lrp.audit(inputs, 7)
        assert_close(audit.ledger.output, right[:, 7])
    assert all(
        torch.equal(a, b) and a.requires_grad is graph
        for a, b in zip(held(cache), before, strict=True)
    )


def test_a_cache_is_left_as_it_came_for_each_class():
    model = language_model()
    head, model.lm_head = model.lm_head, nn.Linear(16, 3)
    del head
    cache = transformers.DynamicCache(config=model.config)
    with instrument(model) as lrp:
        found = lrp.attribute_each({"input_ids": IDS, "past_key_values": cache})
    assert len(found) == 3 and cache.get_seq_length() == 0


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(build, id="hand built"),
        pytest.param(lambda: hugging_face("bert"), id="bert"),
        pytest.param(language_model, id="llama"),
        pytest.param(
            lambda: Wrapper(language_model()), id="a wrapper's copy of the ids"
        ),
    ],
)
@pytest.mark.parametrize("rules", ["conservative", "attnlrp"])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_model_runs_once(model, rules, batch):
    model = model()
    calls = counted(model)
    with instrument(model, rules) as lrp:
        lrp.attribute(tokens(batch, 4), 1)
        assert len(calls) == 1
        lrp.audit(tokens(batch, 4), 1)
    assert len(calls) == 2


def test_ids_that_count_positions_are_not_taken_for_positions():
    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.place, self.word = nn.Embedding(9, 4), nn.Embedding(9, 4)

        def forward(self, ids):
            places = torch.arange(ids.shape[1])[None]
            return (self.place(places) + self.word(ids)).mean(1)

    with instrument(Places()) as lrp:
        found = lrp.attribute(torch.arange(5)[None], 1)
    assert found.meta["read"] == ["word"]


class Changing(nn.Module):
    """Overwrites whatever tensors it is given, in whatever they lie."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 2, dtype=torch.float64)

    def forward(self, x, given):
        total = sum(self.use(given))
        return self.map(x) + total

    def use(self, value):
        if isinstance(value, torch.Tensor):
            yield value.sum()
            value += 1
        elif isinstance(value, dict):
            for part in list(value.values()):
                yield from self.use(part)
            value["new"] = torch.ones(1)
        elif isinstance(value, list | tuple):
            for part in value:
                yield from self.use(part)
        elif isinstance(value, Holder):
            yield from self.use(value.held)
            value.held = None


class Holder:
    def __init__(self, held):
        self.held = held


leaves = st.builds(lambda seed: noise(3, seed=seed), seeds)
nested = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.lists(part, max_size=2),
        st.dictionaries(st.sampled_from("ab"), part, max_size=2),
        st.tuples(part),
        st.builds(Holder, part),
    ),
    max_leaves=4,
)


def flat(value):
    if isinstance(value, Holder):
        return "held", flat(value.held)
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: flat(part) for key, part in value.items()}
    return None if value is None else [flat(part) for part in value]


@calm
@given(st.lists(nested, max_size=2), st.integers(1, 3))
def test_whatever_holds_tensors_is_left_as_it_came(value, batch):
    model, x = Changing(), noise(batch, 4)
    expected = model(x, copy.deepcopy(value))[:, 1].detach()
    before = flat(value)
    with instrument(model) as lrp:
        found = lrp.attribute({"x": x, "given": value}, 1)
    assert flat(value) == before
    assert_close(found.output, expected)


class Locked:
    def __init__(self, held):
        self.held = held

    def __deepcopy__(self, memo):
        raise TypeError("locked")


def test_what_cannot_be_copied_is_refused_by_name():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 2)

        def forward(self, x, state=None):
            return self.map(x)

    x = torch.ones(1, 4)
    with instrument(Model()) as lrp:
        with pytest.raises(
            ArgumentError, match=r"inputs\['state'\] is a Locked.*locked"
        ):
            lrp.attribute({"x": x, "state": Locked([x])}, 0)
        lrp.attribute({"x": x, "state": Locked("no tensor")}, 0)


class Stateful(nn.Module):
    """Returns something else at each call."""

    def __init__(self, shift):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)
        self.shift, self.calls = shift, 0

    def forward(self, ids):
        self.calls += 1
        x = self.table((ids + self.shift) % 9) * self.calls
        return self.head(x.mean(1))


def test_a_model_that_keeps_a_state_is_told_of_where_it_runs_twice():
    with instrument(Stateful(1)) as lrp:
        with pytest.warns(UnruledWarning, match="run twice.*something else"):
            found = lrp.attribute(tokens(1, 3) % 9, 1)
        assert (found.ledger.error < 1e-5).all()
    with instrument(Stateful(1), strict=True) as lrp:
        with pytest.raises(UnruledError, match="run twice"):
            lrp.attribute(tokens(1, 3) % 9, 1)
    model = Stateful(0)
    with warnings.catch_warnings(), instrument(model, strict=True) as lrp:
        warnings.simplefilter("error")
        lrp.attribute(tokens(2, 3) % 9, 1)
    assert model.calls == 1
