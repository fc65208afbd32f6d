"""Patching: measured by hand, estimated where the estimate is exact or a limit."""

import pytest
import torch
from lrp_hooks.rules import Attention
from torch import nn

from folders import SHARED, needs_shared
from generation_models import language_model
from lrp_hooks import ArgumentError, Contrast, RuleSet, instrument
from lrp_hooks.patching import coefficients, estimated_effects, measured_effects
from oracles import close
from small_models import encoder, make
from strategies import noise, tokens

SETS = ("gradient", "conservative", "attnlrp")
STREAM = "model.layers.{}"


def two_texts(batch=2):
    """Return inputs that differ in the token at position 1."""
    ids = tokens(batch, 5) % 10
    other = ids.clone()
    other[:, 1] = (other[:, 1] + 3) % 10
    return {"input_ids": ids}, {"input_ids": other}


@pytest.fixture(scope="module")
def llama():
    return language_model("Llama")


@pytest.mark.parametrize("rules", SETS)
@pytest.mark.parametrize("layer", [STREAM.format(0), STREAM.format(1) + ".mlp"])
def test_a_coefficient_times_its_activation_is_relevance(llama, layer, rules):
    inputs, _ = two_texts()
    with instrument(llama, rules) as lrp:
        found = coefficients(lrp, inputs, 3, layers=layer)[layer]
        relevance = lrp.attribute(inputs, 3, layers=layer).layers[layer]
    close(found.relevance, relevance)
    close(found.coefficient, relevance / found.activation, 1e-6)
    assert not found.coefficient.requires_grad


def test_a_coefficient_is_finite_where_the_activation_is_zero():
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    with instrument(model) as lrp:
        found = coefficients(lrp, noise(3, 4).double(), 1, layers=["1"])["1"]
    assert (found.activation == 0).any() and (found.activation > 0).any()
    close(found.coefficient, model[2].weight[1].detach().expand(3, 6))


def test_measured_effects_are_those_of_runs_one_by_one(llama):
    original, patch = two_texts()
    layers = [STREAM.format(0), STREAM.format(1) + ".mlp"]
    found = measured_effects(llama, original, patch, [4, 7], layers=layers)
    with torch.no_grad():
        clean = llama(**original).logits[:, -1]
    for layer in layers:
        assert found[layer].shape == (2, 5)
        for position in range(5):
            after = patched_by_hand(llama, layer, position, original, patch)
            for row, token in enumerate([4, 7]):
                expected = after[row, token] - clean[row, token]
                close(found[layer][row, position], expected)
        close(found[layer][:, 0], torch.zeros(2).double())  # they differ behind it
        assert found[layer][:, 1:].abs().max() > 1e-3


@torch.no_grad()
def patched_by_hand(model, layer, position, original, patch):
    kept = []
    module = model.get_submodule(layer)
    with module.register_forward_hook(lambda m, a, y: kept.append(y)):
        model(**patch)

    def swap(m, a, y):
        parts = [y[:, :position], kept[0][:, [position]], y[:, position + 1 :]]
        return torch.cat(parts, 1)

    with module.register_forward_hook(swap):
        return model(**original).logits[:, -1]


def test_the_last_stream_at_the_last_position_is_the_whole_difference(llama):
    original, patch = two_texts()
    target = Contrast([4, 2], 5)
    layer = STREAM.format(1)
    found = measured_effects(
        llama, original, patch, target, layers=layer, positions=[4]
    )[layer]
    with torch.no_grad():
        gap = (llama(**patch).logits - llama(**original).logits)[:, -1]
    close(found[:, 0], torch.stack([gap[0, 4], gap[1, 2]]) - gap[:, 5])


def test_without_a_target_the_originals_arg_max_is_followed(llama):
    original, patch = two_texts()
    layer = STREAM.format(0)
    best = llama(**original).logits[:, -1].argmax(1)
    free = measured_effects(llama, original, patch, layers=layer)[layer]
    close(free, measured_effects(llama, original, patch, best, layers=layer)[layer])
    with instrument(llama) as lrp:
        free = estimated_effects(lrp, original, patch, layers=layer)[layer]
        named = estimated_effects(lrp, original, patch, best, layers=layer)[layer]
    close(free, named)


@pytest.mark.parametrize("kind", ["encoder inside", "encoder"])
def test_plain_gradients_estimate_small_patches(kind):
    model, inputs = make(kind, torch.float64)
    ((key, x),) = inputs.items()
    patch = {key: x + 1e-6 * noise(2, 5, 8, dtype=torch.float64).flip(0)}
    prefix = "1." if kind == "encoder inside" else ""
    layers = [f"{prefix}layers.0", f"{prefix}layers.1.linear2"]

    def target(output):
        return output.square().sum((1, 2))

    measured = measured_effects(model, inputs, patch, target, layers=layers)
    with instrument(model, "gradient") as lrp:
        estimated = estimated_effects(lrp, inputs, patch, target, layers=layers)
    for layer in layers:
        assert measured[layer].abs().max() > 1e-9
        close(estimated[layer].sum(-1) * 1e6, measured[layer] * 1e6, 1e-3)


@pytest.mark.parametrize("rules", SETS)
def test_every_rule_set_is_exact_in_a_linear_model(rules):
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)).double()
    x, patch = noise(2, 3, 4).double(), noise(2, 3, 4).double().flip(0, 1)

    def target(output):
        return output[..., 1].sum(1)

    measured = measured_effects(model, x, patch, target, layers=["0", "1"])
    with instrument(model, rules) as lrp:
        estimated = estimated_effects(lrp, x, patch, target, layers=["0", "1"])
    for layer in ("0", "1"):
        assert measured[layer].abs().min() > 1e-4
        close(estimated[layer].sum(-1), measured[layer])


def test_heads_are_estimated_too(llama):
    original, patch = two_texts()
    with instrument(llama) as lrp:
        found = estimated_effects(lrp, original, patch, 3, layers="heads")
        layer = STREAM.format(1) + ".self_attn"
        whole = estimated_effects(lrp, original, patch, 3, layers=layer)[layer]
    by_head = found[f"{layer}.heads"]
    assert by_head.shape == (2, 2, 5, 4)
    close(by_head.sum((1, 3)), whole.sum(-1))  # the projection is linear


def test_a_model_is_left_as_it_was(llama):
    original, patch = two_texts()
    before = llama(**original).logits
    llama.train()
    measured_effects(llama, original, patch, 1, layers=STREAM.format(0))
    assert llama.training
    llama.eval()
    hooks = [m._forward_hooks for m in llama.modules()]
    assert not any(hooks)
    assert torch.equal(llama(**original).logits, before)


def test_an_instrumented_model_is_patched_alike(llama):
    original, patch = two_texts()
    layer = STREAM.format(0)
    plain = measured_effects(llama, original, patch, 1, layers=layer)[layer]
    with instrument(llama):
        ruled = measured_effects(llama, original, patch, 1, layers=layer)[layer]
    assert torch.equal(plain, ruled)


def test_texts_of_different_length(llama):
    original, _ = two_texts()
    longer = {"input_ids": tokens(2, 6) % 10}
    message = r"as many examples and tokens: choose texts"
    with pytest.raises(ArgumentError, match=message):
        measured_effects(llama, original, longer, 1, layers=STREAM.format(0))
    with instrument(llama) as lrp, pytest.raises(ArgumentError, match=message):
        estimated_effects(lrp, original, longer, 1, layers=STREAM.format(0))


def test_layers_that_cannot_be_patched(llama):
    original, patch = two_texts()
    with pytest.raises(ArgumentError, match="is the name of no module"):
        measured_effects(llama, original, patch, 1, layers="model.layers.9")
    model, inputs = make("bert sdpa")
    with pytest.raises(ArgumentError, match=r"returned \(2, 8\) in this call"):
        measured_effects(model, inputs, inputs, 1, layers="bert.pooler")
    model, x = encoder(), noise(2, 5, 8)
    with pytest.raises(ArgumentError, match="no float tensor"):
        measured_effects(model.float(), x.float(), x.float(), lambda y: y.sum((1, 2)),
                         layers="layers.0.self_attn.out_proj")  # fmt: skip


def test_a_removed_instrumentation(llama):
    lrp = instrument(llama)
    lrp.remove()
    with pytest.raises(ArgumentError, match="instrument the model again"):
        coefficients(lrp, two_texts()[0], 1, layers=STREAM.format(0))


@needs_shared
def test_estimates_on_a_trained_model():
    import transformers

    folder = SHARED / "models" / "stories260k-llama"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["The girl was very happy because", "The boy was very happy because"]
    original, patch = (
        {"input_ids": tokenizer(text, return_tensors="pt").input_ids} for text in texts
    )
    she, he = (tokenizer.convert_tokens_to_ids(f"▁{word}") for word in ("she", "he"))
    layers = [f"model.layers.{i}.self_attn" for i in range(5)]
    given = (original, patch, Contrast(she, he))
    measured = measured_effects(model, *given, layers=layers)
    relp = RuleSet.named("conservative").override(attention=Attention(None))
    found = {}
    for name, rules in (("gradient", "gradient"), ("relp", relp)):
        with instrument(model, rules) as lrp:
            estimated = estimated_effects(lrp, *given, layers=layers)
        pairs = torch.stack([
            torch.cat([measured[n].flatten() for n in layers]),
            torch.cat([estimated[n].sum(-1).flatten() for n in layers]),
        ])
        found[name] = float(torch.corrcoef(pairs)[0, 1])
    assert found["relp"] > max(0.8, found["gradient"])


def test_dropout_is_off_while_effects_are_measured():
    model = language_model("GPT2", resid_pdrop=0.5)
    original, patch = two_texts()
    layer = "transformer.h.0"
    expected = measured_effects(model, original, patch, 3, layers=layer)[layer]
    model.train()
    found = measured_effects(model, original, patch, 3, layers=layer)[layer]
    assert torch.equal(found, expected) and expected.abs().max() > 1e-3
    assert model.training and model.transformer.drop.training


def test_effects_on_a_padded_text_are_those_on_the_text_alone(llama):
    original, patch = two_texts()
    layer, mask = STREAM.format(0), torch.ones(2, 5, dtype=torch.long)
    mask[0, 4] = 0
    padded = [{**inputs, "attention_mask": mask} for inputs in (original, patch)]
    found = measured_effects(llama, *padded, [4, 7], layers=layer)[layer]
    alone = [{"input_ids": x["input_ids"][:1, :4]} for x in (original, patch)]
    close(found[:1, :4], measured_effects(llama, *alone, 4, layers=layer)[layer])
    close(found[0, 4], torch.tensor(0.0).double())
