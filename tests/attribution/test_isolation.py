"""Isolation: no other model, thread, class or namespace ever notices."""

import copy
import inspect
import io
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import AlreadyInstrumentedError, instrument
from lrp_hooks.engine.stack import active_scope
from small_models import MODELS, encoder, hugging_face, logits, make
from strategies import Spec, build, noise, tokens


def pulled(model, x=None):
    """Return the gradient of a grammar network for an embedding."""
    x = noise(2, 3, 8, seed=3) if x is None else x
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(model(inputs_embeds=leaf)[:, 0].sum(), leaf)[0]


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "ah+ln"])
def test_another_model_has_bit_equal_gradients(rules):
    model, other = build(seed=1), build(seed=2)
    plain = pulled(other)
    with instrument(model, rules) as lrp:
        assert torch.equal(pulled(other), plain)
        lrp.attribute(tokens(2, 3))
        assert torch.equal(pulled(other), plain)
        model(tokens(2, 3))
        assert torch.equal(pulled(other), plain)
        twin = build(seed=1)
        assert torch.equal(pulled(copy.deepcopy(twin)), pulled(twin))
    assert torch.equal(pulled(other), plain)


def test_another_thread_does_not_notice_while_a_forward_runs():
    model, other, found = build(seed=1), build(seed=2), []
    plain = pulled(other)

    def aside(*_):
        def work():
            found.append((pulled(other), active_scope()))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    with instrument(model) as lrp:
        handle = model.blocks[1].register_forward_hook(aside)
        lrp.attribute(tokens(2, 3))
        model(tokens(2, 3))
        handle.remove()
    assert len(found) >= 2
    assert all(torch.equal(gradient, plain) for gradient, _ in found)
    assert all(scope is None for _, scope in found)


def test_threads_explain_at_the_same_time():
    models = [build(seed=i) for i in range(3)]
    inputs = [tokens(2, 4, seed=i) for i in range(6)]
    runs = [instrument(model) for model in models]
    expected = [runs[i % 3].attribute(ids, 1) for i, ids in enumerate(inputs)]
    start, found, failed = threading.Barrier(6), {}, []

    def work(i):
        try:
            start.wait()
            for _ in range(5):
                found[i] = runs[i % 3].attribute(inputs[i], 1)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lrp in runs:
        lrp.remove()
    assert not failed
    for i, alone in enumerate(expected):
        assert torch.equal(found[i].values, alone.values)
        assert torch.equal(found[i].ledger.total, alone.ledger.total)


def test_models_side_by_side_have_their_own_rules():
    first, second = build(seed=1), build(seed=1)
    with instrument(first):
        conservative = pulled(first)
    with instrument(second, "attnlrp"):
        shared = pulled(second)
    with instrument(first), instrument(second, "attnlrp"):
        assert torch.equal(pulled(second), shared)
        assert torch.equal(pulled(first), conservative)
    assert not torch.allclose(conservative, shared)


class Caller(nn.Module):
    """Calls a model that is no part of it."""

    def __init__(self, called):
        super().__init__()
        self.map = nn.Linear(8, 8, dtype=torch.float64)
        self.called = [called]

    def forward(self, x):
        return self.called[0](inputs_embeds=F.gelu(self.map(x)))


@pytest.mark.parametrize(
    ("outer", "inner"), [("gradient", "conservative"), ("attnlrp", "gradient")]
)
def test_a_model_called_inside_another_keeps_its_own_rules(outer, inner):
    called, x = build(), noise(2, 3, 8, seed=3)
    torch.default_generator.manual_seed(0)
    model, leaf = Caller(called), x.clone().requires_grad_()
    with instrument(model, outer), instrument(called, inner):
        found = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0]
    hidden = model.map(x)
    with instrument(called, inner):
        middle = pulled(called, F.gelu(hidden))
    if outer == "gradient":
        point = hidden.detach().requires_grad_()
        gate = torch.autograd.grad(F.gelu(point).sum(), point)[0]
    else:
        gate = F.gelu(hidden) / hidden
    assert_close(found, (middle * gate) @ model.map.weight)


def _copies(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return {
        "deepcopy": lambda: copy.deepcopy(model),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "torch.save": lambda: torch.load(buffer, weights_only=False),
        "twice": lambda: copy.deepcopy(copy.deepcopy(model)),
    }


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save", "twice"])
@pytest.mark.parametrize("name", ["grammar", "encoder inside", "bert sdpa"])
def test_a_copy_of_an_instrumented_model_is_a_plain_model(name, how):
    model, inputs = make(name)

    def gradients(of):
        of.zero_grad()
        logits(of(**inputs)).square().sum().backward()
        return [p.grad for p in of.parameters() if p.grad is not None]

    plain, output = gradients(model), logits(model(**inputs))
    with torch.no_grad():
        fused = logits(model(**inputs))
    model.zero_grad()
    lrp = instrument(model)
    values = (
        lrp.attribute(inputs, target=0).values if name != "encoder inside" else None
    )
    copied = _copies(model)[how]()
    for _ in range(2):  # while the original is instrumented, and after
        assert torch.equal(logits(copied(**inputs)), output)
        with torch.no_grad():
            assert torch.equal(logits(copied(**inputs)), fused)
        assert all(map(torch.equal, gradients(copied), plain))
        with instrument(copied) as own:
            if values is not None:
                assert torch.equal(own.attribute(inputs, target=0).values, values)
        lrp.remove()
    assert all(map(torch.equal, gradients(copied), plain))
    assert copied.state_dict().keys() == model.state_dict().keys()


def test_the_copy_of_an_encoder_moves_with_its_own_weights():
    model, x = encoder(), noise(1, 2, 8, dtype=torch.float32)
    with instrument(model):
        copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.data.zero_()
    assert (copied(x) == 0).all()
    assert not (model(x) == 0).any()


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save", "twice"])
def test_the_forward_of_a_copy_is_a_method(how):
    model = build()
    plain = inspect.getfullargspec(model.forward)
    with instrument(model):
        forward = _copies(model)[how]().forward
    assert inspect.ismethod(forward)
    assert inspect.getfullargspec(forward) == plain


@pytest.mark.parametrize("name", [*MODELS])
def test_classes_and_namespaces_stay_as_they_are(name):
    model, inputs = make(name)
    kinds = {base for m in model.modules() for base in type(m).__mro__}
    watched = [*kinds, torch, F, torch.Tensor, torch.nn, torch.nn.modules.module]

    def picture():
        return [{key: id(value) for key, value in vars(w).items()} for w in watched]

    logits(model(**inputs))
    before = picture()
    with instrument(model) as lrp:
        assert picture() == before
        lrp.attribute(inputs, target=lambda out: logits(out).flatten(1)[:, 0])
        model(**inputs)
        assert picture() == before
    assert picture() == before


def test_a_shared_module_cannot_belong_to_two():
    shared = nn.Linear(4, 4)
    first, second = nn.Sequential(shared), nn.Sequential(nn.ReLU(), shared)
    lone = nn.Sequential(nn.Linear(4, 4), second[0])
    with instrument(first):
        with pytest.raises(AlreadyInstrumentedError, match="1 is instrumented"):
            instrument(second)
        with instrument(lone):  # what the refusal touched is free
            pass
    with instrument(second):
        pass


def test_a_forward_inside_attribute_of_another_model():
    """A hook that explains another model in the middle of a forward."""
    model, other, found = build(seed=1), build(seed=2), []
    with instrument(model) as lrp, instrument(other) as inner:
        expected = lrp.attribute(tokens(2, 3)), inner.attribute(tokens(2, 3))
        handle = model.blocks[0].register_forward_hook(
            lambda *_: found.append(inner.attribute(tokens(2, 3)))
        )
        again = lrp.attribute(tokens(2, 3))
        handle.remove()
    assert torch.equal(again.values, expected[0].values)
    assert torch.equal(again.ledger.total, expected[0].ledger.total)
    assert torch.equal(found[0].values, expected[1].values)
    assert found[0].ledger.sources.keys() == expected[1].ledger.sources.keys()


def test_the_random_state_is_left_alone():
    model = hugging_face("bert")
    state = torch.random.get_rng_state()
    with instrument(model) as lrp:
        lrp.attribute(tokens(2, 3))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_spec_builds_the_same_network_twice():
    first, second = build(Spec(), 4), build(Spec(), 4)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
