"""Methods that need the same forward pass share it, and find the same numbers."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from decompx_models import batch, fresh, tiny
from lrp_hooks import compare, explain
from lrp_hooks.attribution.sharing import shared, sharing
from lrp_hooks.engine.nested import all_tensors
from lrp_hooks.explainers import names
from shared_models import sentiment
from strategies import noise

ATTENTION = ["attention_last", "attention_rollout", "attention_flow"]
ATTENTION += ["generic_attention"]
NORMS = ["attention_norms", "globenc", "alti", "value_zeroing"]
READING = ["saliency", "smooth_grad", "integrated_gradients"]
PERTURBING = ["leave_one_out", "lime", "kernel_shap", "shapley_value_sampling"]
PERTURBING += ["random_baseline"]
CLASSES = {
    f"{method} {target} {number}": {"method": method, "target": target, **options}
    for target in (2, 0)
    for number, (method, options) in enumerate([
        ("lrp", {}),
        ("lrp", {"rules": "attnlrp", "layers": "blocks"}),
        ("lrp", {"low_memory": True}),
        ("lrp", {"rules": "ah"}),
        ("gradient_x_input", {}),
        ("gradient_x_input", {"norm": "l2"}),
        ("integrated_gradients", {"n_steps": 5}),
        ("generic_attention", {}),
        ("decompx", {}),
        ("lime", {"n_samples": 70}),
    ])
}


class Seen:
    """What a model returns, seen by a hook on all modules."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.calls, self.outputs = model, 0, []

    def __enter__(self):
        module = nn.modules.module
        self.handles = [
            module.register_module_forward_pre_hook(self.begin),
            module.register_module_forward_hook(self.end),
        ]
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def begin(self, module, args):
        self.calls += module is self.model

    def end(self, module, args, output):
        if module is self.model:
            self.outputs += map(weakref.ref, all_tensors(output))


def count(model, inputs, methods, **arguments) -> int:
    """Count calls, and check that the costs are those of each method alone."""
    with Seen(model) as seen:
        found = compare(model, inputs, methods, **arguments)
    for label, cost in found.costs.items():
        options = methods[label] if isinstance(methods, dict) else {}
        options = {"method": label, **arguments, **options}
        with Seen(model) as alone:
            explain(model, inputs, **options)
        assert cost.calls == alone.calls, label
    return seen.calls


def assert_alone(model, inputs, methods, **arguments):
    """Check that all numbers are those of each method alone, to the bit."""
    found = compare(model, inputs, methods, **arguments)
    assert not found.failures
    for label in methods:
        options = methods[label] if isinstance(methods, dict) else {}
        alone = explain(model, inputs, **{"method": label, **arguments, **options})
        one = found.explanations[label]
        assert torch.equal(one.scores, alone.scores), label
        assert torch.equal(one.output, alone.output), label
        assert torch.equal(torch.as_tensor(one.target), torch.as_tensor(alone.target))
        assert one.method == alone.method
        layers = getattr(alone, "layers", {})
        for name, entry in layers.items() if isinstance(layers, dict) else ():
            assert torch.equal(one.layers[name], entry), (label, name)
        ledger = getattr(alone, "ledger", None)
        if ledger is not None:
            assert one.ledger.sources.keys() == ledger.sources.keys()
            for name, entry in ledger.sources.items():
                assert torch.equal(one.ledger.sources[name], entry), (label, name)


@pytest.mark.filterwarnings("ignore")
def test_every_method_of_a_text():
    model, tokenizer = sentiment()
    text = "a gripping, funny film with a weak ending"
    assert_alone(model, text, list(names()), tokenizer=tokenizer)
    assert_alone(model, text, list(reversed(names())), tokenizer=tokenizer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Bert", "GPT2", "ViT"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_several_classes_of_a_batch(name, dtype):
    model, inputs = tiny(name, dtype=dtype), batch(name, dtype=dtype)
    pixels = ("lrp", "gradient_x_input", "integrated_gradients", "lime")
    methods = {
        label: own
        for label, own in CLASSES.items()
        if name != "ViT" or own["method"] in pixels
    }
    assert_alone(model, inputs, methods)


@pytest.mark.parametrize(
    ("methods", "calls"),
    [
        # Which layers mix tokens is found in one pass, gradients go through another.
        (ATTENTION, 2),
        # One pass ends at the first attention, another one is recorded.
        (NORMS, 2),
        ([*NORMS, "decompx"], 3),
    ],
)
def test_one_pass_for_all_that_can_share_it(methods, calls):
    model, inputs = fresh("Bert"), batch()
    one = {name: values[:1] for name, values in inputs.items()}
    assert count(model, one, methods, target=1) == calls


@pytest.mark.parametrize(
    ("methods", "fewer"),
    [
        (READING, len(READING) - 1),
        # The whole text, and for the two Shapley values nothing of it, alone.
        (PERTURBING, len(PERTURBING)),
        (["slalom", "leave_one_out"], 1),
    ],
)
def test_the_pass_of_the_whole_text_is_shared(methods, fewer):
    model, inputs = fresh("Bert"), batch()
    one = {name: values[:1] for name, values in inputs.items()}
    alone = sum(count(model, one, [method], target=1) for method in methods)
    assert count(model, one, methods, target=1) == alone - fewer


@pytest.mark.parametrize(
    ("own", "calls"),
    [
        ({"method": "lrp"}, 1),
        ({"method": "lrp", "rules": "attnlrp"}, 1),
        ({"method": "gradient_x_input"}, 1),
        ({"method": "generic_attention"}, 2),
        ({"method": "leave_one_out"}, 2),
        ({"method": "lime"}, 3),
    ],
)
def test_several_classes_share_all_their_passes(own, calls):
    model, inputs = fresh("Bert"), batch()
    one = {name: values[:1] for name, values in inputs.items()}
    methods = {str(target): {**own, "target": target} for target in range(3)}
    assert count(model, one, methods) == count(model, one, {"0": methods["0"]})
    assert count(model, one, {"0": methods["0"]}) == calls


def test_labels_stay_in_their_order():
    model, inputs = fresh("Bert"), batch()
    methods = {
        "a": {"method": "lrp", "target": 0},
        "b": {"method": "saliency"},
        "c": {"method": "lrp", "target": 99},
        "d": {"method": "lrp", "target": 1},
        "e": {"method": "globenc", "target": 98},
    }
    found = compare(model, inputs, methods, target=1)
    assert list(found.explanations) == list(found.costs) == ["a", "b", "d"]
    assert list(found.failures) == ["c", "e"]
    assert "99" in found.failures["c"]


def test_the_model_is_left_as_it_was_and_no_graph_is_kept():
    model, inputs = fresh("Bert"), batch()
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    with Seen(model) as seen:
        found = compare(model, inputs, CLASSES)
    assert found.failures == {}
    for name, module in model.named_modules():
        assert dict(vars(module)) == before[name], name
    gc.collect()
    assert seen.outputs
    assert not any(output() is not None for output in seen.outputs)


def test_what_only_its_owner_can_tell_apart_is_not_shared():
    model, ran = nn.Linear(4, 2), []
    cache = hf.DynamicCache()
    for given_ in ({"cache": cache}, noise(2, 2).to_sparse()):
        with sharing():
            for _ in range(2):
                shared("a", model, given_, lambda: ran.append(1))
    assert len(ran) == 4


def test_large_outputs_are_not_kept():
    model, x, ran = nn.Linear(4, 2), noise(2, 4), []

    def run(size):
        def make():
            ran.append(size)
            return {"logits": torch.zeros(size, dtype=torch.uint8)}

        shared(size, model, x, make, keeps=False)

    with sharing() as passes:
        passes.room = 100
        for size in (60, 60, 50, 50, 40, 40, 1, 1):
            run(size)
    assert ran == [60, 50, 50, 40, 1, 1]


@given(st.integers(0, 3), st.sampled_from(["value", "dtype", "shape", "name", "none"]))
def test_other_inputs_are_other_passes(seed, change):
    model = nn.Linear(4, 2)
    x = noise(2, 4).float() + seed
    other = {
        "value": x + torch.eye(2, 4) * 1e-3,
        "dtype": x.view(torch.int32),
        "shape": x.view(4, 2),
        "name": x,
        "none": x.clone(),
    }[change]
    ran = []

    def run(name, given):
        return shared(name, model, {"x": given}, lambda: ran.append(name))

    with sharing():
        run("a", x)
        run("b" if change == "name" else "a", other)
    assert len(ran) == (1 if change == "none" else 2)
    run("a", x)
    assert len(ran) == (2 if change == "none" else 3)


class Gated(nn.Module):
    """A classifier that returns probabilities."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, ids):
        return torch.sigmoid(self.head(self.embed(ids).mean(1)))


class Buffered(nn.Module):
    """A model that returns its own memory where no graph is recorded."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.register_buffer("out", torch.zeros(64, 3), persistent=False)

    def forward(self, ids):
        y = self.head(torch.tanh(self.embed(ids)).mean(1))
        if torch.is_grad_enabled():
            return y
        self.out[: len(y)] = y
        return self.out[: len(y)]


def doubled(output):
    return output.mul_(2)[:, 1]


def plainly(output):
    return output[:, 0]


PERTURBED = ("leave_one_out", "shapley_value_sampling", "kernel_shap", "lime")


@pytest.mark.parametrize(
    ("kind", "methods"),
    [
        (Gated, {"a": {"target": 0}, "b": {"target": plainly}}),
        (Gated, {"a": {"target": plainly}, "b": {"target": 0}}),
        (
            Buffered,
            {m: {"method": m, "target": doubled} for m in ("saliency", "smooth_grad")},
        ),
        (
            Gated,
            {m: {"method": m, "target": doubled, "replace_with": 0} for m in PERTURBED},
        ),
        (
            Buffered,
            {m: {"method": m, "target": 1, "replace_with": 0} for m in PERTURBED},
        ),
    ],
)
def test_what_a_target_or_a_model_overwrites_is_shared_with_none(kind, methods):
    torch.manual_seed(0)
    model, ids = kind().eval(), torch.tensor([[3, 4, 5, 6]])
    methods = {label: {"method": "lrp", **own} for label, own in methods.items()}
    found = compare(model, ids, methods)
    assert not found.failures
    for label, own in methods.items():
        alone = explain(model, ids, **own)
        assert torch.equal(found.explanations[label].output, alone.output)
        assert torch.equal(found.explanations[label].scores, alone.scores)
