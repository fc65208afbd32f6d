"""What counts as a block: in every architecture, by what a call shows."""

import pytest
import torch
import transformers as hf
from torch import nn

from attention_models import seq2seq, seq2seq_batch
from lrp_hooks import ArgumentError, explain, instrument
from oracles import randomised, without_biases
from small_models import encoder, make
from strategies import noise, tokens

SIZE = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 3,
    "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache": False,
}  # fmt: skip


def built(name, **settings):
    kind = getattr(hf, name)
    return randomised(kind(kind.config_class(**settings)), 0, 0.2).double().eval()


ALBERT = "albert.encoder.albert_layer_groups.0"
MODELS = {
    "albert": (
        lambda: built("AlbertForSequenceClassification", embedding_size=6, **SIZE),
        [ALBERT, f"{ALBERT}:2", f"{ALBERT}:3"],
    ),
    "modernbert": (
        lambda: built(
            "ModernBertForSequenceClassification",
            **SIZE,
            cls_token_id=1,
            sep_token_id=2,
            attn_implementation="eager",
        ),
        [f"model.layers.{n}" for n in range(3)],
    ),
    "mamba": (
        lambda: built(
            "MambaForCausalLM",
            vocab_size=30,
            hidden_size=8,
            num_hidden_layers=2,
            state_size=4,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),  # fmt: skip
        ["backbone.layers.0", "backbone.layers.1"],
    ),
    "distilbert": (
        lambda: built(
            "DistilBertForSequenceClassification",
            vocab_size=30,
            dim=8,
            n_layers=2,
            n_heads=2,
            hidden_dim=12,
        ),  # fmt: skip
        ["distilbert.transformer.layer.0", "distilbert.transformer.layer.1"],
    ),
    # Four lists run in turns; what adds the residual is a list of norms.
    "xlm": (
        lambda: built(
            "XLMForSequenceClassification",
            n_words=30,
            emb_dim=8,
            n_layers=2,
            n_heads=2,
            pad_index=0,
        ),  # fmt: skip
        [f"transformer.layer_norm{n}.{layer}" for layer in range(2) for n in (1, 2)],
    ),
}


def blocks(model, inputs, rules="conservative", **options):
    with instrument(model, rules) as lrp:
        return lrp.attribute(inputs, 0, layers="blocks", **options)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_of_text_models(name):
    model, names = MODELS[name][0](), MODELS[name][1]
    model = without_biases(model)
    found = blocks(model, {"input_ids": tokens(2, 5) + 3})
    assert list(found.layers) == names
    assert found.ledger.error.max() < 1e-6  # Mamba scans in float32
    for values in found.layers.values():
        assert values.shape == (2, 5, 8)
        # Without biases each cut holds all, but for what has no module of its own.
        torch.testing.assert_close(
            values.sum((1, 2)), found.output.double(), atol=1e-6, rtol=1e-6
        )


@pytest.mark.parametrize("family", ["T5", "Bart"])
def test_a_decoder_is_left_out_though_it_has_as_many_tokens(family):
    inputs = seq2seq_batch()
    length = inputs["input_ids"].shape[1]
    inputs["decoder_input_ids"] = tokens(2, length) + 3
    found = blocks(seq2seq(family), inputs)
    stem = {"T5": "encoder.block", "Bart": "model.encoder.layers"}[family]
    assert list(found.layers) == [f"{stem}.0", f"{stem}.1"]


def test_torch_layers_inside_a_sequence_of_unlike_steps():
    found = blocks(encoder(nested=True), noise(2, 5, 8, dtype=torch.float32))
    assert list(found.layers) == ["1.layers.0", "1.layers.1"]


def test_the_same_as_naming_them():
    model, inputs = make("gpt2 sdpa", torch.float64)
    names = ["transformer.h.0", "transformer.h.1"]
    with instrument(model) as lrp:
        named = lrp.attribute(inputs, 1, layers=names).layers
        virtual = lrp.attribute(inputs, 1, layers="blocks").layers
        both = lrp.attribute(inputs, 1, layers=["blocks", *names, "heads"]).layers
    assert list(virtual) == names
    for name in names:
        assert named[name].any()
        assert torch.equal(virtual[name], named[name])
        assert torch.equal(both[name], named[name])
    assert "transformer.h.0.attn.heads" in both


def test_the_last_call_of_a_shared_layer_is_what_its_name_stands_for():
    model = MODELS["albert"][0]()
    with instrument(model) as lrp:
        ids = tokens(2, 5)
        found = lrp.attribute(ids, 0, layers="blocks").layers
        last = lrp.attribute(ids, 0, layers=ALBERT).layers[ALBERT]
    assert torch.equal(found[f"{ALBERT}:3"], last)
    assert not torch.allclose(found[ALBERT], last)


def test_blocks_below_what_is_read_are_left_out():
    model, inputs = make("llama eager", torch.float64)
    found = blocks(model, inputs, wrt="model.layers.0")
    assert list(found.layers) == ["model.layers.1"]


class Part(nn.Module):
    def __init__(self, residual=False):
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(4), nn.Linear(4, 4)
        self.residual = residual

    def forward(self, x):
        return self.inner(self.norm(x)) + self.residual * x


class Hand(nn.Module):
    """A hand-written model: ``run(self, x)`` is what it does with its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.table, self.head = nn.Embedding(11, 4), nn.Linear(4, 2)
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, ids):
        return self.head(self.run(self, self.table(ids.clone())).mean(1))


def chain(name):
    def run(model, x):
        for part in getattr(model, name):
            x = part(x)
        return x

    return run


def listed(n=2, residual=True):
    return nn.ModuleList(Part(residual) for _ in range(n))


def test_a_list_written_by_hand():
    model = Hand(chain("steps"), steps=listed())
    assert list(blocks(model, tokens(2, 5)).layers) == ["steps.0", "steps.1"]


@pytest.mark.parametrize("kind", [nn.ModuleList, lambda parts: nn.Sequential(*parts)])
def test_a_list_that_is_called_blocks_is_the_list_of_them(kind):
    model = Hand(chain("blocks"), blocks=kind(listed()))
    assert list(blocks(model, tokens(2, 5)).layers) == ["blocks.0", "blocks.1"]


def test_a_module_that_is_called_blocks_is_a_module():
    model = Hand(lambda self, x: self.blocks(x), blocks=Part())
    found = blocks(model, tokens(2, 5)).layers
    assert list(found) == ["blocks"] and found["blocks"].shape == (2, 5, 4)


def test_one_block_at_all_will_do():
    model = Hand(chain("steps"), steps=listed(1))
    assert list(blocks(model, tokens(2, 5)).layers) == ["steps.0"]


def outside(model, x):
    for part in model.steps:
        x = torch.add(x, part(x))
    return x


def parallel(model, x):
    return sum(part(x) for part in model.steps)


def in_turns(model, x):
    for norm, step in zip(model.norms, model.steps, strict=True):
        x = torch.add(x, step(norm(x)))
    return x


NO_BLOCKS = {
    "residuals outside": lambda: Hand(outside, steps=listed(2, residual=False)),
    "one residual outside": lambda: Hand(outside, steps=listed(1, residual=False)),
    "side by side": lambda: Hand(parallel, steps=listed(3)),
    "lists in turns": lambda: Hand(
        in_turns,
        norms=nn.ModuleList(nn.LayerNorm(4) for _ in range(2)),
        steps=listed(2, residual=False),
    ),
    "steps of a perceptron": lambda: Hand(
        chain("steps"), steps=nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
    ),
    "no list": lambda: Hand(lambda self, x: self.part(x), part=Part(True)),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_what_holds_but_a_part_of_the_relevance_is_no_block(name):
    model = NO_BLOCKS[name]()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    with pytest.raises(ArgumentError, match="name the modules whose output to read"):
        blocks(model, tokens(2, 5))
    assert hooks == [
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()
    ]


def test_outputs_are_the_same_bits_and_nothing_is_left_behind():
    model, inputs = make("bert sdpa")
    plain = model(**inputs).logits[:, 0].detach()
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, 0, layers="blocks")
        assert torch.equal(found.output, plain)
        before = [len(m._forward_hooks) for m in model.modules()]
        model.classifier.forward = lambda *_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            lrp.attribute(inputs, 0, layers="blocks")
        del model.classifier.forward
        assert before == [len(m._forward_hooks) for m in model.modules()]


def test_images_have_the_class_token_among_their_positions():
    config = hf.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=12,
    )  # fmt: skip
    model = randomised(hf.ViTForImageClassification(config), 0, 0.1).double()
    found = blocks(model, noise(2, 3, 8, 8), wrt="vit.embeddings.patch_embeddings")
    assert [v.shape for v in found.layers.values()] == [(2, 5, 8)] * 2


def test_the_explainer_takes_layers():
    model, inputs = make("bert sdpa")
    found = explain(model, inputs, "lrp", target=0, layers="blocks")
    assert list(found.layers) == ["bert.encoder.layer.0", "bert.encoder.layer.1"]


class Halving(nn.Module):
    """Pools pairs of positions, as what cuts a signal into frames does."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x).unflatten(1, (-1, 2)).mean(2)


def test_what_changes_the_layout_is_no_block():
    def run(model, x):
        return chain("steps")(model, chain("frames")(model, x))

    frames = nn.ModuleList(Halving() for _ in range(2))
    found = blocks(Hand(run, frames=frames, steps=listed()), tokens(2, 8))
    assert list(found.layers) == ["steps.0", "steps.1"]
    assert found.layers["steps.0"].shape == (2, 2, 4)


class Stage(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = listed()

    def forward(self, x):
        return chain("steps")(self, x)


def test_a_sequence_of_unlike_modules_is_looked_into():
    model = Hand(lambda self, x: self.all(x), all=nn.Sequential(Part(), Stage()))
    assert list(blocks(model, tokens(2, 5)).layers) == [
        "all.1.steps.0",
        "all.1.steps.1",
    ]


class Coarsening(nn.Module):
    """Two lists of blocks, the second of which has half as many positions."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.fine, self.coarse = (
            nn.ModuleList(nn.Linear(3, 3) for _ in range(2)) for _ in range(2)
        )

    def forward(self, x):
        for block in self.fine:
            x = block(x)
        x = x.unflatten(1, (-1, 2)).mean(2)
        for block in self.coarse:
            x = block(x)
        return x.sum(1)


def test_blocks_have_the_positions_of_what_is_read():
    found = blocks(Coarsening(), noise(2, 4, 3, dtype=torch.float32))
    assert list(found.layers) == ["fine.0", "fine.1"]


class Overwriting(nn.Module):
    """Overwrites what its first block returned."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))

    def forward(self, x):
        x = self.layers[0](x)
        x += 1.0
        return self.layers[1](x).sum(1)


def test_a_block_s_output_is_what_it_returned_though_it_is_overwritten():
    model, x = Overwriting().double(), noise(2, 4, 3).double()
    found = blocks(model, x).layers["layers.0"]
    expected = model.layers[0](x) * model.layers[1].weight[0]
    torch.testing.assert_close(found, expected.detach())
