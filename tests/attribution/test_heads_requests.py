"""Asking for heads: by name, part by part, in vain; and what it leaves alone."""

import pytest
import torch
from torch import nn

from generation_models import language_model
from lrp_hooks import (
    ArgumentError,
    Explanation,
    LeafRule,
    UnruledWarning,
    UnsupportedModelError,
    heads,
)
from lrp_hooks import instrument as instrumented
from lrp_hooks.engine.stack import active_scope
from small_models import hugging_face, make
from strategies import noise, tokens

LAYER = "bert.encoder.layer"


@pytest.fixture(params=["eager", "sdpa"])
def bert(request):
    return make(f"bert {request.param}", torch.float64)


@pytest.mark.parametrize("asked", [f"{LAYER}.1", f"{LAYER}.1.attention.self"])
def test_the_heads_of_a_part(bert, asked):
    model, inputs = bert
    with instrumented(model) as lrp:
        part = lrp.attribute(inputs, layers=f"{asked}.heads")
        whole = lrp.attribute(inputs, layers="heads")
    name = f"{LAYER}.1.attention.self.heads"
    assert list(part.layers) == [name]
    assert torch.equal(part.layers[name], whole.layers[name])


def test_asking_changes_nothing_else(bert):
    model, inputs = bert
    plain = model(**inputs).logits.detach()
    with instrumented(model) as lrp:
        without = lrp.attribute(inputs, 1)
        found = lrp.attribute(inputs, 1, layers=["heads", "classifier"])
        after = lrp.attribute(inputs, 1)
        assert torch.equal(model(**inputs).logits, plain)
    assert torch.equal(found.output, plain[:, 1])
    assert torch.equal(found.scores, without.scores)
    assert torch.equal(after.scores, without.scores)
    assert found.ledger.sources.keys() == without.ledger.sources.keys()
    assert after.layers == {}
    assert not found.layers["classifier"].requires_grad
    assert not next(iter(found.layers.values())).requires_grad


def test_heads_of_every_class(bert):
    model, inputs = bert
    with instrumented(model) as lrp:
        every = lrp.attribute_each(inputs, layers="heads")
        for target, each in enumerate(every):
            one = lrp.attribute(inputs, target, layers="heads")
            for name, values in heads(one).items():
                torch.testing.assert_close(heads(each)[name], values)


def test_examples_do_not_mix(bert):
    model, inputs = bert
    with instrumented(model) as lrp:
        both = heads(lrp.attribute(inputs, 0, layers="heads"))
        for row in range(2):
            one = {key: value[row : row + 1] for key, value in inputs.items()}
            for name, values in heads(lrp.attribute(one, 0, layers="heads")).items():
                torch.testing.assert_close(both[name][row : row + 1], values)


def test_half_precision_casts_of_the_weights_are_followed():
    model = hugging_face("gpt2", torch.bfloat16, "eager")
    with instrumented(model) as lrp:
        found = lrp.attribute({"input_ids": tokens(1, 4)}, 0, layers="heads")
    assert len(heads(found)) == 2


class Named(nn.Module):
    """A model with a module called heads, as torchvision's ViT has one."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.heads = nn.Linear(8, 3)

    def forward(self, x):
        return self.heads(self.attend(x, x, x)[0].mean(1))


def test_a_module_of_that_name_is_a_module():
    x = noise(2, 5, 8, dtype=torch.float32)
    with instrumented(Named()) as lrp:
        found = lrp.attribute(x, 0, layers=["heads", "attend.heads"])
    assert found.layers["heads"].shape == (2, 3)
    assert list(heads(found)) == ["attend"]


def test_relevance_without_heads_says_how_to_ask():
    with instrumented(Named()) as lrp:
        bare = lrp.attribute(noise(2, 5, 8, dtype=torch.float32), 0)
        other = lrp.attribute(noise(2, 5, 8, dtype=torch.float32), 0, layers="heads")
    with pytest.raises(ArgumentError, match=r"no layers; .*layers='heads'"):
        heads(bare)
    with pytest.raises(ArgumentError, match=r"layers 'heads'; ask"):
        heads(other)
    scores = Explanation(
        scores=bare.scores, output=bare.output, target=0, method="x", tokens=None
    )
    with pytest.raises(ArgumentError, match="got Explanation with no layers"):
        heads(scores)


@pytest.mark.parametrize("asked", ["heads", "backbone.heads"])
def test_a_model_without_attention(asked):
    model = language_model("Mamba")
    message = r"asks for the attention heads in .*no softmax mixed values"
    with instrumented(model) as lrp, pytest.raises(ArgumentError, match=message):
        lrp.attribute({"input_ids": tokens(1, 4)}, 0, layers=asked)
    assert active_scope() is None


def test_a_part_that_does_not_attend_or_does_not_exist(bert):
    model, inputs = bert
    with instrumented(model) as lrp:
        with pytest.raises(ArgumentError, match=r"heads in bert\.pooler"):
            lrp.attribute(inputs, layers="bert.pooler.heads")
        with pytest.raises(ArgumentError, match="is the name of no module"):
            lrp.attribute(inputs, layers=f"{LAYER}.7.heads")


class Failing(Named):
    """Fails behind its attention."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        super().forward(x)
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_model_leaves_no_scope_behind(error):
    model = Failing(error("behind the attention"))
    with instrumented(model) as lrp:
        with pytest.raises(error, match="behind"):
            lrp.attribute(noise(2, 5, 8, dtype=torch.float32), 0, layers="attend.heads")
        assert active_scope() is None
        model.error = RuntimeError("again")
        with pytest.raises(RuntimeError, match="again"):
            model(noise(2, 5, 8, dtype=torch.float32))
    assert not torch.overrides._get_current_function_mode_stack()


class Folding(nn.Module):
    """Softmax over a layout that does not begin with the batch."""

    def forward(self, x):
        mixed = x.transpose(0, 1)  # [T, B, D]
        return (mixed.softmax(-1) @ mixed.mT).sum((0, 2))[:, None]


def test_a_layout_that_cannot_be_read_is_refused():
    with (
        instrumented(Folding()) as lrp,
        pytest.raises(UnsupportedModelError, match="2 examples cannot be told apart"),
    ):
        lrp.attribute(noise(2, 5, 8, dtype=torch.float32), 0, layers="heads")


class Wandering(Named):
    """Calls a function without a rule when told to."""

    strange = False

    def forward(self, x):
        y = super().forward(x)
        return torch.special.i0e(y) if self.strange else y


def test_functions_without_a_rule_are_warned_of():
    model, x = Wandering(), noise(2, 5, 8, dtype=torch.float32)
    with instrumented(model) as lrp:
        lrp.attribute(x, 0, layers="attend.heads")
        model.strange = True
        with pytest.warns(UnruledWarning, match="i0e"):
            lrp.attribute(x, 0, layers="attend.heads")


class Whole(LeafRule):
    """Stands for all of a module."""

    def relevance(self, module, x, y, grad):
        return grad


class Mixing(nn.Module):
    """Attention without parameters, one head."""

    def forward(self, x):
        return (x @ x.mT).softmax(-1) @ x


def test_a_rule_for_all_of_an_attention_hides_its_heads():
    model, x = nn.Sequential(Mixing(), Named()), noise(2, 5, 8, dtype=torch.float32)
    with instrumented(model) as lrp:
        found = lrp.attribute(x, 0, layers="0.heads")
    assert found.layers["0.heads"].shape == (2, 1, 5, 8)
    with (
        instrumented(model, overrides={model[0]: Whole()}) as lrp,
        pytest.raises(ArgumentError, match="heads in 0, but no softmax"),
    ):
        lrp.attribute(x, 0, layers="0.heads")


class Asking(nn.Module):
    """Asks another model, which is no part of it."""

    def __init__(self, other):
        super().__init__()
        self.inner, self.others = Named(), [other]

    def forward(self, x):
        return self.inner(x) + self.others[0](x)


def test_another_instrumented_model_inside_keeps_its_heads():
    other = Named()
    model, x = Asking(other), noise(2, 5, 8, dtype=torch.float32)
    with instrumented(model) as lrp, instrumented(other):
        found = lrp.attribute(x, 0, layers="heads")
        plain = lrp.attribute(x, 0)
    assert list(heads(found)) == ["inner.attend"]
    assert torch.equal(found.scores, plain.scores)


class Weighing(nn.Module):
    """Multiplies by softmax weights that are no attention over tokens."""

    def __init__(self):
        super().__init__()
        self.inner = Named()

    def forward(self, x):
        experts = x.mean(1).softmax(-1) @ self.inner.attend.out_proj.weight  # [B, D]
        queries = (x @ x.mT) @ (x @ x.mT).softmax(-1)  # [B, T, T]
        return self.inner(x + experts[:, None] + queries.mean(-1, keepdim=True))


def test_other_products_with_a_softmax_are_no_heads():
    model, x = Weighing(), noise(2, 5, 8, dtype=torch.float32)
    with instrumented(model) as lrp:
        found = lrp.attribute(x, 0, layers="heads")
    assert list(heads(found)) == ["inner.attend"]


def test_no_scope_is_open_behind_the_model(bert):
    model, inputs = bert
    seen = []

    def target(output):
        seen.append(active_scope())
        return output.logits[:, 0]

    with instrumented(model) as lrp:
        lrp.attribute(inputs, target, layers="heads")
    assert seen == [None]


def test_a_part_is_not_another_whose_name_begins_alike():
    model = language_model("GPT2", num_hidden_layers=11)
    with instrumented(model) as lrp:
        found = lrp.attribute(tokens(1, 3), 2, layers="transformer.h.1.heads")
    assert list(found.layers) == ["transformer.h.1.attn.heads"]
