"""The ledger closes for each example, however a layer lays out its batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import LeafRule, instrument
from small_models import hugging_face
from strategies import LAYOUTS, PARTS, POOLS, Spec, build, noise, tokens

SETS = ("conservative", "cp-lrp", "attnlrp")
SIZES = [(1, 1), (1, 4), (4, 1), (2, 5), (3, 3), (2, 2), (2, 4), (4, 2)]


def check(model, inputs, rules="conservative", tolerance=1e-10, **options):
    """Verify a batch against its examples, name by name."""
    with instrument(model, rules) as lrp:
        found = lrp.attribute(inputs, **options)
        rows = [
            lrp.attribute({k: v[i : i + 1] for k, v in inputs.items()}, **options)
            for i in range(len(found.output))
        ]
    assert (found.ledger.error <= tolerance).all()
    for kind in ("sources", "positions"):
        for name, terms in getattr(found.ledger, kind).items():
            # An example without padding has no mask that adds anything.
            alone = [getattr(row.ledger, kind).get(name) for row in rows]
            alone = [terms[:1] * 0 if part is None else part for part in alone]
            close = {"rtol": 1e-6, "atol": tolerance, "check_dtype": False}
            where = f"{kind} of {name} are another example's or position's"
            assert_close(terms, torch.cat(alone), **close, msg=where)
    assert_close(found.complete("equal").flatten(1).sum(1), found.ledger.total)
    return found


@pytest.mark.parametrize(("batch", "length"), SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("class_token", [False, True])
def test_every_layout(layout, class_token, batch, length):
    parts = ("mlp", "torch_attention", "gate")
    spec = Spec(parts, ("layer",) * 3, layout, class_token=class_token)
    check(build(spec), {"input_ids": tokens(batch, length)})


@pytest.mark.parametrize("rules", SETS)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("layout", ["batch_first", "flat_time_first"])
def test_every_part_where_examples_are_as_many_as_tokens(part, layout, rules):
    spec = Spec((part,), ("layer",), layout)
    check(build(spec), {"input_ids": tokens(3, 3)}, rules)


@pytest.mark.parametrize("rules", SETS)
@pytest.mark.parametrize("pool", POOLS)
def test_every_pooling(pool, rules):
    spec = Spec(("fused",), ("rms",), pool=pool, class_token=pool == "tanh")
    check(build(spec), {"input_ids": tokens(3, 4)}, rules)


@pytest.mark.parametrize("rules", ["gradient", "ah", "ln", "ah+ln"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("batch", "length"), [(3, 3), (2, 4)])
def test_an_honest_leak_is_each_examples_own(layout, rules, batch, length):
    spec = Spec(("mlp", "torch_attention"), ("layer",) * 2, layout)
    model, ids = build(spec), tokens(batch, length)
    with instrument(model, rules) as lrp:
        found = lrp.attribute(ids, target=1).ledger.error
        alone = [lrp.attribute(ids[i : i + 1], 1).ledger.error for i in range(batch)]
    assert_close(found, torch.cat(alone))


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("rules", SETS)
def test_padded_text(family, attention, rules):
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    inputs = {"input_ids": tokens(3, 3), "attention_mask": mask}
    model = hugging_face(family, torch.float64, attention)
    # Eager attention of Llama takes its softmax in float32 whatever the dtype.
    found = check(model, inputs, rules, tolerance=1e-6, target=1)
    assert (found.values[mask == 0] == 0).all()
    assert (found.complete()[mask == 0] == 0).all()


def test_images_and_plain_vectors():
    torch.default_generator.manual_seed(0)
    vectors = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    check(vectors, {"input": noise(3, 3)})
    images = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 3)
    ).double()
    check(images, {"input": noise(3, 2, 4, 4)})


def test_constants_added_in_place_or_put_in():
    class Putting(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(8, 8)
            self.register_buffer("shift", torch.linspace(-1, 1, 8))

        def forward(self, x):
            x = self.map(x).tanh()
            x += self.shift
            x = torch.where(x > 0.5, x, self.shift)
            x = x.masked_fill(x < -1, 0.25)
            x[:, 0] = 0.5
            x = torch.cat([x, torch.ones_like(x[:, :1])], 1) + 3
            return (2 - x).sub(self.shift).mean(1) * 0.5

    model = Putting().double()
    found = check(model, {"x": noise(3, 4, 8)}, target=2)
    assert {"map.bias", "shift"} <= found.ledger.sources.keys()


@pytest.mark.parametrize(
    "change",
    [
        lambda x, shift: x.add_(shift),
        lambda x, shift: x.mul_(2).sub_(shift),
        lambda x, shift: x.relu_(),
        lambda x, shift: F.gelu(x.mul_(0.5)),
        lambda x, shift: x.masked_fill_(shift > 0, 0.0),
    ],
    ids=["add_", "mul_ and sub_", "relu_", "mul_", "masked_fill_"],
)
def test_a_bias_is_kept_where_the_output_is_overwritten(change):
    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(8, 8)
            self.norm = nn.LayerNorm(8)
            self.register_buffer("shift", torch.linspace(-1, 1, 8))

        def forward(self, x):
            x = change(self.map(x), self.shift)
            return change(self.norm(x), self.shift).mean(1)

    torch.default_generator.manual_seed(0)
    model = Overwriting().double()
    nn.init.normal_(model.norm.bias)
    found = check(model, {"x": noise(2, 4, 8)}, target=1)
    assert {"map.bias", "norm.bias"} <= found.ledger.sources.keys()


def test_sources_have_the_names_of_their_parameters():
    spec = Spec(("mlp", "torch_attention"), ("layer",) * 2, class_token=True)
    found = check(build(spec), {"input_ids": tokens(2, 3)})
    names = {"position.weight", "class_token", "head.bias", "blocks.0.inner.up.bias"}
    assert names <= found.ledger.sources.keys()
    model = build(Spec(("mlp", "explicit"), ("layer",) * 2))
    found = check(model, {"input_ids": tokens(2, 3)})
    assert "blocks.0.norm.bias" in found.ledger.positions
    assert found.ledger.positions["position.weight"].shape == (2, 3)
    assert "head.bias" not in found.ledger.positions
    assert_close(
        found.ledger.sources["head.bias"], model.head.bias.detach()[found.target]
    )


def test_what_a_softmax_absorbs_is_a_line():
    model = build(Spec(("explicit", "fused"), ("layer",) * 2))
    found = check(model, {"input_ids": tokens(2, 3)}, "attnlrp")
    lines = [n for n in found.ledger.sources if "softmax" in n]
    assert len(lines) == 2
    assert all(found.ledger.positions[name].shape == (2, 3) for name in lines)
    found = check(model, {"input_ids": tokens(2, 3)}, "conservative")
    assert not any("softmax" in name for name in found.ledger.sources)


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.linspace(0.5, 1.5, 8))

    def forward(self, x):
        return x + self.shift


class ShiftRule(LeafRule):
    def relevance(self, module, x, y, grad):
        self.source("kept", grad * module.shift)
        return grad


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("batch", "length"), [(2, 3), (3, 3)])
def test_a_rules_own_source(turned, batch, length):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift, self.head = Shift(), nn.Linear(8, 2)

        def forward(self, x):
            x = (
                self.shift(x.transpose(0, 1)).transpose(0, 1)
                if turned
                else self.shift(x)
            )
            return self.head(x.mean(1))

    model = Model().double()
    with instrument(model, overrides={Shift: ShiftRule}) as lrp:
        found = lrp.attribute(noise(batch, length, 8), target=1)
    assert (found.ledger.error < 1e-10).all()
    expected = (model.shift.shift * model.head.weight[1]).sum().expand(batch)
    assert_close(found.ledger.sources["shift.kept"], expected.detach())


def test_a_batch_costs_one_forward_where_the_layout_is_plain():
    model = hugging_face("bert")
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    with instrument(model) as lrp:
        lrp.attribute({"input_ids": tokens(3, 4)})
    handle.remove()
    assert len(calls) == 1


def test_a_constant_added_to_a_turned_view_keeps_its_places():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 6)
            self.register_buffer("shift", noise(6, 1, seed=3))
            self.register_buffer("weigh", noise(6, 5, seed=4))

        def forward(self, x):
            turned = self.map(x).transpose(1, 2)
            turned += self.shift
            return (turned * self.weigh).sum(2)

    check(Turned().double(), {"x": noise(2, 5, 4)}, target=1)
