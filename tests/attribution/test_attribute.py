"""`attribute`: what goes in, what comes out, and what is left alone."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from lrp_hooks import ArgumentError, instrument
from small_models import MODELS, hugging_face, logits, make
from strategies import Spec, build, noise, tokens

TOLERANCE = 1e-10


def explain(model, inputs, **options):
    with instrument(model) as lrp:
        return lrp.attribute(inputs, **options)


def test_shapes_of_text():
    model, ids = build(), tokens(2, 5)
    found = explain(model, ids, target=1)
    assert found.values.shape == (2, 5, 8)
    assert_close(found.scores, found.values.sum(-1))
    assert_close(found.output, model(ids)[:, 1].detach())
    assert found.target.tolist() == [1, 1]
    assert not any(t.requires_grad for t in (found.values, found.scores, found.output))
    assert all(not t.requires_grad for t in found.ledger.sources.values())


def test_shapes_of_vectors_and_images():
    torch.default_generator.manual_seed(0)
    vector = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)).double()
    found = explain(vector, noise(5, 3))
    assert found.scores.shape == found.values.shape == (5, 3)
    image = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    found = explain(image.double(), noise(2, 2, 4, 4))
    assert found.values.shape == (2, 2, 4, 4)
    assert_close(found.scores, found.values.sum(1))
    assert (found.ledger.error < TOLERANCE).all()


def test_a_tensor_a_tuple_and_a_mapping_are_one_call():
    model, ids = build(), tokens(2, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    for same in ((ids, mask), [ids, mask]):
        found = explain(model, same, target=1)
        named = explain(model, {"input_ids": ids, "attention_mask": mask}, target=1)
        assert_close(found.values, named.values)
    assert_close(explain(model, ids).values, explain(model, {"input_ids": ids}).values)


class Pair(nn.Module):
    """Takes two float inputs and things that are no tensors; returns a dictionary."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, left, right, *, scale=1.0, mode=None):
        assert mode in {None, "plain"}
        x = torch.tanh(self.a(left) + self.b(right)) * scale
        return {"hidden": x, "logits": self.head(x)}


def test_a_tuple_of_inputs_is_read_by_name():
    torch.default_generator.manual_seed(0)
    model, left, right = Pair().double(), noise(2, 3), noise(2, 2)
    found = explain(model, (left, right), target=0)
    assert found.scores.keys() == found.values.keys() == {"left", "right"}
    assert (found.ledger.error < TOLERANCE).all()
    sums = found.scores["left"].sum(1) + found.scores["right"].sum(1)
    assert_close(found.ledger.inputs, sums)


def test_values_that_are_no_tensors_reach_the_model_unchanged():
    torch.default_generator.manual_seed(0)
    model, inputs = Pair().double(), {"left": noise(2, 3), "right": noise(2, 2)}
    found = explain(model, {**inputs, "scale": 0.5, "mode": "plain"}, target=1)
    expected = model(**inputs, scale=0.5)["logits"][:, 1]
    assert_close(found.output, expected.detach())
    assert (found.ledger.error < TOLERANCE).all()


def test_wrt_and_layers():
    model, ids = build(Spec(bias=False)), tokens(2, 3)
    by_name = explain(model, ids, target=1, wrt="embedding")
    assert_close(by_name.values, explain(model, ids, target=1).values)
    inner = explain(model, ids, target=1, wrt="blocks.2", layers=["blocks.3"])
    cut = explain(model, ids, target=1, layers=("blocks.2", "blocks.3"))
    assert list(explain(model, ids, target=1, layers="blocks.2").layers) == ["blocks.2"]
    assert_close(inner.values, cut.layers["blocks.2"])
    assert_close(inner.layers["blocks.3"], cut.layers["blocks.3"])
    assert inner.layers.keys() == {"blocks.3"}
    assert_close(inner.scores.sum(1), inner.output)


def test_a_list_wrt_is_read_by_name():
    model, inputs = hugging_face("bert", torch.float64), {"input_ids": tokens(2, 3)}
    words, types = (
        f"bert.embeddings.{kind}_embeddings" for kind in ("word", "token_type")
    )
    found = explain(model, inputs, target=1, wrt=[words, types])
    assert found.values.keys() == found.scores.keys() == {words, types}
    assert found.values[words].shape == (2, 3, 8)
    assert f"{types}.weight" not in found.ledger.sources
    assert (found.ledger.error < TOLERANCE).all()
    sums = found.scores[words].sum(1) + found.scores[types].sum(1)
    assert_close(found.ledger.inputs, sums)
    assert_close(found.values[words], explain(model, inputs, target=1).values)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_what_all_examples_share_is_read_for_each_or_refused(batch):
    model = hugging_face("bert", torch.float64)
    inputs = {"input_ids": tokens(batch, 3)}
    shared = ["word_embeddings", "position_embeddings"]
    names = [f"bert.embeddings.{name}" for name in shared]
    try:
        found = explain(model, inputs, target=1, wrt=names)
    except ArgumentError as error:
        assert batch > 1 and names[1] in str(error)
    else:
        assert (found.ledger.error < TOLERANCE).all()


def test_inputs_embeds_are_the_input():
    model, ids = build(), tokens(2, 3)
    embeds = model.embedding(ids).detach()
    found = explain(model, {"inputs_embeds": embeds}, target=1)
    assert_close(found.values, explain(model, ids, target=1).values)
    mask = torch.ones(2, 3)
    masked = explain(model, {"inputs_embeds": embeds, "attention_mask": mask}, target=1)
    assert_close(masked.values, found.values)


def test_the_caller_is_left_alone():
    model, x = build().train(), noise(2, 3, 8).requires_grad_()
    model.blocks[1].eval()
    flags = [m.training for m in model.modules()]
    model(inputs_embeds=x).sum().backward()
    grads = [x.grad, *(p.grad for p in model.parameters())]
    kept = [None if g is None else g.clone() for g in grads]
    with instrument(model) as lrp:
        for mode in (True, False):
            with torch.set_grad_enabled(mode):
                found = lrp.attribute({"inputs_embeds": x}, target=1)
                assert torch.is_grad_enabled() is mode
            assert [m.training for m in model.modules()] == flags
        with pytest.raises(ArgumentError):
            lrp.attribute({"inputs_embeds": x}, target=99)
        with pytest.raises(TypeError):
            lrp.attribute({"inputs_embeds": x, "unknown": 3})
        assert [m.training for m in model.modules()] == flags
        with torch.no_grad():
            x *= 2
    assert found.values.shape == x.shape
    for before, grad in zip(
        kept, [x.grad, *(p.grad for p in model.parameters())], strict=True
    ):
        assert before is grad is None or torch.equal(before, grad)


def test_eval_mode_is_what_counts():
    model = hugging_face("bert", torch.float64)
    inputs = {"input_ids": tokens(2, 4)}
    expected = explain(model, inputs, target=1)
    with torch.no_grad():
        found = explain(model.train(), inputs, target=1)
    assert torch.equal(found.values, expected.values)
    assert model.training


@pytest.mark.parametrize("name", [n for n in MODELS if "encoder" not in n])
@pytest.mark.parametrize("rules", ["conservative", "cp-lrp", "attnlrp"])
def test_every_model_is_complete(name, rules):
    model, inputs = make(name, torch.float64)
    by_hand = {"target": lambda out: logits(out).flatten(1)[:, 0]}
    with instrument(model, rules, strict=True) as lrp:
        found = lrp.attribute(inputs, **(by_hand if name == "strided rows" else {}))
    # Llama normalises, and eager attention takes its softmax, in float32.
    limit = 1e-5 if "llama" in name else TOLERANCE
    assert (found.ledger.error < limit).all()


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_a_torch_encoder_is_complete(batch_first, norm_first):
    torch.default_generator.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, batch_first=batch_first, norm_first=norm_first, dtype=torch.float64
    )
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    rows = 0 if batch_first else 1
    x = noise(3, 4, 8) if batch_first else noise(4, 3, 8)
    leaf = x.requires_grad_()
    with instrument(model.eval()):
        output = model(leaf).sum(1 - rows)[:, 2]
        (gradient,) = torch.autograd.grad(output.sum(), leaf)
        with torch.no_grad():
            assert model(leaf).shape == x.shape
    assert gradient.isfinite().all()
    if batch_first:
        found = explain(model, x.detach(), target=lambda out: out.sum(1)[:, 2])
        assert (found.ledger.error < TOLERANCE).all()
        assert_close(found.values, gradient * leaf.detach())


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.embedding, self.head = inner.embedding, inner.head
        self.blocks, self.reentrant = inner.blocks, reentrant

    def forward(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            if self.reentrant is None:
                x = block(x, None)
            else:
                x = checkpoint(block, x, None, use_reentrant=self.reentrant)
        return self.head(x.mean(1))


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "cp-lrp", "ah+ln"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(rules, reentrant):
    inner, ids = build(), tokens(2, 3)
    with instrument(Checkpointed(inner, None), rules) as lrp:
        plain = lrp.attribute(ids, target=1)
    with instrument(Checkpointed(inner, reentrant), rules) as lrp:
        if reentrant:
            try:
                found = lrp.attribute(ids, target=1)
            except (ArgumentError, RuntimeError) as error:
                assert "use_reentrant" in str(error)
                return
        else:
            found = lrp.attribute(ids, target=1)
    assert_close(found.values, plain.values)
    assert_close(found.ledger.error, plain.ledger.error)
    for name, terms in plain.ledger.sources.items():
        assert_close(found.ledger.sources[name], terms, msg=name)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_gradient_checkpointing_in_training(family):
    dropout = {
        "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
        "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        "llama": (),
    }[family]
    model = hugging_face(family, torch.float64, **dict.fromkeys(dropout, 0.0)).train()
    x = noise(2, 4, 8).requires_grad_()

    def pulled():
        out = logits(model(inputs_embeds=x, **cache)).flatten(1)[:, 1].sum()
        return torch.autograd.grad(out, x)[0]

    cache = {} if family == "bert" else {"use_cache": False}
    enable = model.gradient_checkpointing_enable  # its name before transformers 5.2x
    with instrument(model):
        plain = pulled()
        getattr(model, "activation_checkpointing_enable", enable)()
        assert_close(pulled(), plain)


def test_reading_a_model_that_overwrites_its_input():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 4, bias=False, dtype=torch.float64)

        def forward(self, x):
            x *= 2
            x += self.map(x)
            return x

    x = noise(2, 4)
    kept = x.clone()
    found = explain(InPlace(), x, target=1)
    assert torch.equal(x, kept)
    assert_close(found.values.sum(1), found.output)


def test_a_layer_of_the_name_of_an_input():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.x, self.head = nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.x(x).relu())

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net, x = Net().double().eval(), torch.randn(2, 5).double()
    with instrument(net, strict=True) as lrp:
        alone = lrp.attribute(x, 0)
        found = lrp.attribute(x, 0, layers=["x"])
    assert_close(found.scores, alone.scores)
    assert_close(found.ledger.total, found.output)
    inner = net.x(x)
    by_hand = inner * (inner > 0) * net.head.weight[0]
    assert_close(found.layers["x"], by_hand.detach())
