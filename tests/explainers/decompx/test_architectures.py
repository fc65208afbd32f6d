"""What each path does on architectures of every make."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from decompx_models import Encoder, TorchEncoder, batch, made, rows, tiny
from folders import SHARED, needs_shared
from lrp_hooks import ArgumentError, LrpHooksError
from lrp_hooks.errors import UnsupportedModelError
from lrp_hooks.explainers import DecompX
from strategies import LAYOUTS, Spec, build, tokens

OTHERS = ("GPT2", "Llama", "OPT", "ModernBert", "Bart", "Dinov2")


def sums_close(found) -> None:
    assert torch.isfinite(found.scores).all()
    assert_close(found.scores.sum(1), found.output, rtol=0, atol=1e-12)
    assert found.scores.abs().max() > 1e-3


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("rule", ["equal", "first", "token"])
@pytest.mark.parametrize("value_bias", ["follow", "distribute"])
def test_one_backward_pass_serves_any_architecture(name, rule, value_bias):
    inputs = batch(name)
    found = DecompX(tiny(name), rule, value_bias=value_bias)(inputs, "all")
    sums_close(found)
    assert found.meta["path"] == "backward"
    if name != "Dinov2":
        assert (found.scores[:, :6][inputs["attention_mask"] == 0] == 0).all()
    tangent = DecompX(tiny(name), rule, "tangent", value_bias)(inputs, "all")
    sums_close(tangent)


@pytest.mark.parametrize("normalised", [True, False])
def test_pytorchs_own_encoder(normalised):
    model, inputs = made(TorchEncoder, True, normalised), batch()
    for rule in ("equal", "token"):
        found = DecompX(model, rule)(inputs, "all")
        sums_close(found)
        assert (found.scores[1, 4:6] == 0).all()
    assert found.meta["read"] == ["norm" if normalised else "encoder.layers.0"]


REFUSED = {
    "GPT2": "the model calls '__getitem__'",
    "Llama": "the model calls '__getitem__'",
    "OPT": "the model calls '__getitem__'",
    "ModernBert": "model.layers.1 calls 'sum'",
    "Bart": "the model calls '__getitem__'",
    "Dinov2": "the model calls 'cat'",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("options", [{"bias": "absdot"}, {"bias": "norm"}])
def test_what_is_no_such_encoder_is_decomposed_by_tangents(name, options):
    found = DecompX(tiny(name), **options)(batch(name), 0)
    assert found.meta["path"] == "tangents"
    sums_close(found)


@pytest.mark.parametrize("name", REFUSED)
def test_decomposition_says_what_it_cannot_do(name):
    with pytest.raises(UnsupportedModelError) as caught:
        DecompX(tiny(name), include_ffn=False)(batch(name), 0)
    message = str(caught.value)
    assert message.startswith(REFUSED[name])
    assert "BERT" in message
    assert "no decoders, no encoder-decoders" in message


def test_pytorchs_own_encoder_is_decomposed():
    sums_close(DecompX(made(TorchEncoder), "absdot")(batch()["input_ids"], "all"))


class Pooled(Encoder):
    """Classifies what `pool` makes of the hidden states."""

    pool = staticmethod(lambda x: x[:, 0])

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.pool(self.encode(input_ids, attention_mask)))


POOLS = {
    "first": lambda x: x[:, 0],
    "first of three": lambda x: x[:, 0, :],
    "last": lambda x: x[:, -1],
    "select": lambda x: x.select(1, 2),
    "select by name": lambda x: torch.select(x, dim=1, index=2),
    "mean": lambda x: x.mean(1),
    "mean of a negative dimension": lambda x: x.mean(-2),
    "mean of a list": lambda x: x.mean([1]),
    "mean by name": lambda x: torch.mean(input=x, dim=1),
    "normed mean": lambda x: F.layer_norm(x.mean(dim=1), (8,)),
    "mean of norms": lambda x: F.layer_norm(x, (8,)).mean(dim=1),
    "tanh": lambda x: x[:, 0].tanh(),
}


@pytest.mark.parametrize("pool", POOLS)
def test_heads_agree_or_are_refused(pool):
    model, text = made(Pooled), batch()["input_ids"]
    model.pool = POOLS[pool]
    backward = DecompX(model)(text, "all")
    sums_close(backward)
    try:
        forward = DecompX(model, stages="pooler")(text, "all")
    except UnsupportedModelError:
        assert pool == "mean of a list"  # an unusual spelling may be refused
        return
    assert_close(forward.scores, backward.scores, rtol=0, atol=1e-12)


class Late(Encoder):
    """Applies the head to every token, and pools the logits."""

    pool = staticmethod(lambda x: x[:, 0])

    def forward(self, input_ids, attention_mask=None):
        self.hidden = self.encode(input_ids, attention_mask)
        return self.pool(self.head(self.hidden))


@pytest.mark.parametrize("pool", ["first", "last", "select", "mean"])
@pytest.mark.parametrize("stages", ["pooler", ("encoder", "pooler")])
def test_the_pooler_is_what_the_last_layer_takes_for_the_logits(pool, stages):
    model, text = made(Late), batch()["input_ids"]
    model.pool = POOLS[pool]
    found = DecompX(model, "absdot", stages=stages, vectors=True)(text, "all")
    sums_close(found)
    taken = POOLS[pool](model.hidden).detach()
    assert_close(found.pooler.sum(1), taken, rtol=0, atol=1e-12)


class Unmasked(Encoder):
    """Lets every token attend to padding."""

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.encode(input_ids, None)[:, 0])


class Writes(Encoder):
    """Overwrites hidden states between its layers."""

    write = staticmethod(lambda x, ids: None)

    def forward(self, input_ids, attention_mask=None):
        x = self.norm(self.words(input_ids))
        for block in self.blocks:
            x = block(x, attention_mask)
            self.write(x, input_ids)
        return self.head(x[:, 0])


def write_item(x, ids):
    x[:, 1] = 0.0


def write_mask(x, ids):
    x[ids == ids[:, 1:2]] = 0.0


def write_view(x, ids):
    x[:, 1].mul_(2.0)


def write_whole(x, ids):
    x.mul_(2.0)


def complete_or_refused(model, inputs) -> None:
    try:
        found = DecompX(model, "absdot")(inputs, "all")
    except LrpHooksError:
        return
    sums_close(found)


@pytest.mark.parametrize("write", [write_item, write_mask, write_view, write_whole])
def test_decomposition_is_complete_or_refused_where_states_are_overwritten(write):
    model = made(Writes)
    model.write = write
    sums_close(DecompX(model)(batch()["input_ids"], "all"))
    complete_or_refused(model, batch()["input_ids"])


@pytest.mark.parametrize("kind", [Unmasked, Pooled])
def test_decomposition_is_complete_or_refused_where_padding_has_an_effect(kind):
    model = made(kind)
    model.pool = POOLS["mean"]
    with pytest.raises(ArgumentError, match="attention mask hides"):
        DecompX(model)(batch(), "all")
    sums_close(DecompX(model)(batch()["input_ids"], "all"))
    complete_or_refused(model, batch())


class Spells(Encoder):
    """Calls functions with all arguments by name."""

    def forward(self, input_ids, attention_mask=None):
        weight, bias = self.norm.weight, self.norm.bias
        x = self.words(input_ids)
        x = F.layer_norm(input=x, normalized_shape=(8,), weight=weight, bias=bias)
        x = F.dropout(input=x, p=0.5, training=False)
        x = torch.transpose(input=torch.transpose(x, dim0=0, dim1=1), dim0=0, dim1=1)
        for block in self.blocks:
            x = block(x=x, mask=attention_mask)
        head = self.head
        return F.linear(input=x[:, 0], weight=head.weight, bias=head.bias)


def test_arguments_by_name_make_no_difference():
    model = made(Spells)
    backward = DecompX(model)(batch(), "all")
    forward = DecompX(model, stages="pooler")(batch(), "all")
    assert_close(forward.scores, backward.scores, rtol=0, atol=1e-12)
    plain = made(Encoder)
    assert_close(backward.scores, DecompX(plain)(batch(), "all").scores)


ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "leaky": lambda: nn.LeakyReLU(0.3, inplace=True),
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "hardswish": nn.Hardswish,
    "gelu of tanh": lambda: nn.GELU("tanh"),
    "gelu_new": lambda: hf.activations.ACT2FN["gelu_new"],
    "quick_gelu": lambda: hf.activations.ACT2FN["quick_gelu"],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_agree(name):
    model = made(Encoder)
    for block in model.blocks:
        block.activation = ACTIVATIONS[name]()
    for kind in ("secant", "tangent"):
        backward = DecompX(model, "token", kind)(batch(), "all")
        forward = DecompX(model, "token", kind, stages="pooler")(batch(), "all")
        assert_close(forward.scores, backward.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["equal", "absdot"])
def test_a_model_may_lie_inside_of_a_sequence(rule):
    class Body(Encoder):
        def forward(self, input_ids):
            return self.encode(input_ids, None)[:, 0]

    body, text = made(Body), batch()["input_ids"]
    model = nn.Sequential(body, body.head)
    right = made(Encoder)
    assert torch.equal(model(text), right(text))
    found = DecompX(model, rule)(text, "all")
    assert_close(found.scores, DecompX(right, rule)(text, "all").scores)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("length", [4, 6])
def test_layers_that_put_time_first_serve_or_say_so(normalised, length):
    text = torch.arange(1, 1 + 4 * length).view(4, length)
    right = DecompX(made(TorchEncoder, True, normalised))(text, "all")
    try:
        found = DecompX(made(TorchEncoder, False, normalised))(text, "all")
    except LrpHooksError:
        assert not normalised  # read behind the transposition
        return
    assert_close(found.scores, right.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["XLNet", "Longformer"])
def test_where_tokens_are_laid_out_anew_it_serves_or_says_so(name):
    try:
        found = DecompX(tiny(name))(batch(), "all")
    except LrpHooksError:
        return
    sums_close(found)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", ["explicit", "torch_attention"])
@pytest.mark.parametrize(("size", "length"), [(2, 5), (3, 3), (4, 2)])
@pytest.mark.filterwarnings("error::UserWarning")
def test_layouts_agree_with_single_examples(layout, part, size, length):
    spec = Spec((part, "mlp"), ("layer",) * 2, layout, pool="first", pre=False)
    explainer, text = DecompX(build(spec)), tokens(size, length)
    every = explainer(text, "all")
    sums_close(every)
    alone = [explainer(text[row : row + 1], "all").scores for row in range(size)]
    assert_close(every.scores, torch.cat(alone), rtol=0, atol=1e-12)
    one = explainer(text, 1)
    assert_close(one.scores, every.of(1).scores, rtol=0, atol=1e-12)
    assert_close(one.biases, every.of(1).biases, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["equal", "token", "absdot"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 1)])
def test_the_smallest_inputs(rule, shape):
    found = DecompX(tiny("Bert"), rule)(torch.full(shape, 4), "all")
    sums_close(found)
    assert found.scores.shape[:2] == (shape[0], shape[1] + (rule == "token"))


@pytest.mark.parametrize("rule", ["equal", "absdot"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half(rule, dtype):
    found = DecompX(tiny("Bert", dtype=dtype), rule)(batch(), "all")
    right = DecompX(tiny("Bert"), rule)(batch(), "all")
    assert found.scores.dtype == dtype
    assert_close(found.scores.double(), right.scores, rtol=0, atol=0.05)


@pytest.fixture(scope="module")
def minilm():
    path = SHARED / "models" / "sst2-minilm-l6"
    loader = hf.AutoModelForSequenceClassification
    return loader.from_pretrained(path, dtype=torch.float32).eval()


def long_text() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(1000, 20000, (2, 64), generator=generator)
    mask = torch.ones_like(text)
    mask[1, 50:] = 0
    return {"input_ids": text, "attention_mask": mask}


@needs_shared
def test_a_real_model_is_complete_at_64_tokens(minilm):
    explainer = DecompX(minilm, "absdot", stages="encoder", vectors=True)
    found = explainer(long_text(), "all")
    assert_close(found.scores.sum(1), found.output, rtol=0, atol=1e-5)
    assert (found.scores[1, 50:] == 0).all()
    own = minilm(**long_text(), output_hidden_states=True).hidden_states[1:]
    sums, states = found.layers["encoder"].sum(3), torch.stack(own).detach()
    assert_close(sums[:, found.attended], states[:, found.attended], rtol=0, atol=1e-4)
    lean = DecompX(minilm, "absdot")(rows(long_text(), slice(1)), "all")
    assert_close(lean.scores[0], found.scores[0], rtol=0, atol=1e-5)


@needs_shared
@pytest.mark.parametrize("rule", ["equal", "token"])
@pytest.mark.parametrize("activation", ["secant", "tangent"])
def test_paths_agree_on_a_real_model(minilm, rule, activation):
    backward = DecompX(minilm, rule, activation)(long_text(), "all")
    options = {"activation": activation, "stages": "pooler"}
    forward = DecompX(minilm, rule, **options)(long_text(), "all")
    assert backward.scores.dtype == torch.float32
    assert_close(forward.scores, backward.scores, rtol=0, atol=1e-5)
    assert_close(backward.scores.sum(1), backward.output, rtol=0, atol=1e-5)
