"""Vectors on any architecture: sums, brute-force Jacobians, the published values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from decompx_models import arrays, batch, fresh, published, published_batch, rows, tiny
from lrp_hooks import ArgumentError, UnsupportedModelError, explain, instrument
from lrp_hooks.attribution.reader import InputOf
from lrp_hooks.explainers import DecompX
from lrp_hooks.explainers.decompx import Heads, Neurons, Spans, Subspace
from lrp_hooks.sentiment import sentiment_model
from mixing_models import FAMILIES as MIXING
from mixing_models import mixing_batch, mixing_model
from vector_models import (
    BIASED,
    FAMILIES,
    blocks_of,
    hidden_states,
    vector_batch,
    vector_model,
)

families = pytest.mark.parametrize("family", FAMILIES)
DISTRIBUTE = {"value_bias": "distribute"}


def vectors_of(model, inputs, names, **options):
    explainer = DecompX(model, stages=names, vectors=True, **options)
    found = explainer(inputs)
    assert found.meta["path"] == "tangents"
    return found


def same(a, b, tolerance=1e-10):
    assert_close(a, b, rtol=0, atol=tolerance * max(1.0, float(b.abs().max())))


@families
@pytest.mark.parametrize("bias", ["equal", "first", "token"])
def test_vectors_sum_to_the_hidden_state(family, bias):
    model, inputs, names = vector_model(family), vector_batch(family), blocks_of(family)
    found = vectors_of(model, inputs, names, bias=bias)
    for name, hidden in hidden_states(model, inputs, names).items():
        same(found.layers[name].sum(2), hidden)
    same(found.scores.sum(1), found.output)


@families
def test_what_tokens_have_is_all_where_there_are_no_biases(family):
    model, inputs, names = vector_model(family), vector_batch(family), blocks_of(family)
    found = vectors_of(model, inputs, names, bias="none", **DISTRIBUTE)
    for name, hidden in hidden_states(model, inputs, names).items():
        gap = (found.layers[name].sum(2) - hidden).abs().max()
        assert (gap > 1e-3) == (family in BIASED)
        assert (gap < 1e-10) == (family not in BIASED)


@families
def test_every_vector_is_that_of_the_twin_read_backward(family):
    """<u, x[i <= k]> is token k's relevance for <u, x[i]>, and constants' the rest."""
    model, inputs, names = vector_model(family), vector_batch(family), blocks_of(family)
    found = vectors_of(model, inputs, names, bias="token", **DISTRIBUTE)
    read = found.meta["read"]
    read = read[0] if len(read) == 1 else read
    kept = {}
    for name in names:
        vectors = found.layers[name]
        drawn = torch.randn(*vectors.shape[:2], vectors.shape[-1]).double()
        hook = model.get_submodule(name).register_forward_hook(
            lambda _, args, out, name=name: kept.__setitem__(
                name, out[0] if isinstance(out, tuple) else out
            )
        )

        def inner(_, name=name, drawn=drawn):
            return (kept[name] * drawn).flatten(1).sum(1)

        with instrument(model) as lrp:
            right = lrp.attribute(inputs, inner, wrt=_again(model, read))
        hook.remove()
        scores = right.scores
        scores = (
            torch.cat(list(scores.values()), 1) if isinstance(scores, dict) else scores
        )
        own = torch.einsum("btkd,btd->bk", vectors, drawn)
        same(own[:, :-1], scores)
        same(own[:, -1], sum(right.ledger.sources.values(), torch.zeros(2).double()))


@pytest.mark.parametrize("family", MIXING)
def test_vectors_through_layers_that_mix_by_a_recurrence(family):
    model, inputs = mixing_model(family), mixing_batch()
    name, block = [
        (f"{name}.{len(part) - 1}", part[-1])
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.ModuleList)
    ][0]
    options, kept = {"bias": "token", **DISTRIBUTE}, []
    found = vectors_of(model, inputs, (name,), **options)
    vectors = found.layers[name]
    hidden = hidden_states(model, inputs, (name,))[name]
    rounded = 1e-5  # some work in single precision inside
    same(vectors.sum(2), hidden, rounded)
    drawn = torch.randn(*hidden.shape).to(hidden)
    hook = block.register_forward_hook(
        lambda _, args, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    with instrument(model) as lrp:
        probed = lrp.attribute(
            inputs,
            lambda _: (kept[-1] * drawn).flatten(1).sum(1),
            wrt=_again(model, found.meta["read"][0]),
        ).scores
    hook.remove()
    same(torch.einsum("btkd,btd->bk", vectors, drawn)[:, :-1], probed, rounded)


def _again(model, read):
    """Name where it was read: the block's input, which has the block's name."""
    if isinstance(read, str) and any(read.endswith(f".{n}") for n in ("0", "h.0")):
        return InputOf(read)
    return read


@settings(max_examples=10)
@given(
    family=st.sampled_from(["Llama", "GPT2", "Gemma3", "Mixtral"]),
    length=st.integers(1, 6),
    examples=st.integers(1, 3),
    seed=st.integers(0, 50),
)
def test_brute_force_jacobians(family, length, examples, seed):
    """All rows of the twin's Jacobian, one backward pass a number of the state."""
    model = vector_model(family, seed=seed)
    inputs = vector_batch(family, length, examples, seed)
    last = blocks_of(family)[-1]
    found = vectors_of(model, inputs, [last], bias="none", **DISTRIBUTE)
    first = model.get_submodule(blocks_of(family)[0])
    kept = {}

    def start(_, args):
        kept["x"] = args[0].detach().requires_grad_()
        return (kept["x"], *args[1:])

    def end(_, args, out):
        kept["y"] = out[0] if isinstance(out, tuple) else out

    hooks = [
        first.register_forward_pre_hook(start),
        model.get_submodule(last).register_forward_hook(end),
    ]
    with instrument(model):
        # What is read comes after the instrument's hooks on the first block.
        model(inputs_embeds=model.get_input_embeddings()(inputs["input_ids"]))
        x, y = kept["x"], kept["y"]
        for t in range(length):
            for d in range(0, y.shape[2], 5):
                (grad,) = torch.autograd.grad(y[:, t, d].sum(), x, retain_graph=True)
                same(found.layers[last][:, t, :, d], (grad * x).sum(-1).detach())
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", ["equal", "cls", "biastoken_raw"])
def test_the_published_vectors(name):
    bias = {"cls": "first", "biastoken_raw": "token"}.get(name, name)
    model, inputs = published(), published_batch()
    names = [f"bert.encoder.layer.{n}" for n in range(3)]
    found = vectors_of(model, inputs, names, bias=bias)
    vectors = torch.stack([found.layers[name] for name in names])
    golden = arrays("decompx/golden")[f"{name}/encoder"]
    attended = inputs["attention_mask"].bool()
    extra = vectors.shape[3] - attended.shape[1]
    sources = torch.nn.functional.pad(attended, (0, extra), value=True)
    pairs = attended[:, :, None] & sources[:, None]
    assert (vectors[:, pairs] - golden).abs().max() <= 1e-9
    classes = DecompX(model, bias=bias, stages=names)(inputs, "all")
    right = arrays("decompx/golden")[f"{name}/classifier"]
    assert (classes.scores - right).abs().max() <= 1e-9


@pytest.mark.parametrize("family", ["Bert", "Roberta", "Albert", "ViT", "DistilBert"])
@pytest.mark.parametrize("bias", ["none", "equal", "first", "token"])
def test_encoders_have_the_vectors_of_their_own_path(family, bias):
    model, inputs = tiny(family), batch(family)
    whole = {"vectors": True, "bias": bias, **DISTRIBUTE}
    right = DecompX(model, stages=("encoder",), **whole)(inputs)
    assert right.meta["path"] == "forward"
    last = {
        "Bert": "bert.encoder.layer.1",
        "Roberta": "roberta.encoder.layer.1",
        "Albert": "albert.encoder",
        "ViT": "vit.layers.1",
        "DistilBert": "distilbert.transformer.layer.1",
    }[family]
    found = vectors_of(model, inputs, [last], bias=bias, **DISTRIBUTE)
    same(found.layers[last], right.layers["encoder"][-1], 1e-9)
    same(found.scores, right.scores, 1e-9)


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(family, side):
    model = tiny(family)
    inputs = batch(family, padding=side)
    options = {"stages": ("encoder",), "vectors": True, "bias": "equal"}
    found = DecompX(model, **options)(inputs)
    attended = inputs["attention_mask"].bool()
    vectors = found.layers["encoder"]
    assert vectors.shape == (2, 2, 6, 6, 16)
    hidden = ~(attended[:, :, None] & attended[:, None])
    assert (vectors[:, hidden] == 0).all()
    one = rows(inputs, slice(0, 1))
    same(vectors[:, :1], DecompX(model, **options)(one).layers["encoder"])
    alone = {k: v[1:, attended[1]] for k, v in inputs.items()}
    if side == "right":
        own = DecompX(model, **options)(alone).layers["encoder"]
        same(vectors[:, 1:, :4, :4], own)


@pytest.mark.parametrize("family", ["GPT2", "Llama", "Qwen2"])
def test_stages_norms_and_chunks(family):
    model, inputs = vector_model(family), vector_batch(family)
    options = {"stages": ("encoder", "aggregated"), "bias": "equal"}
    whole = DecompX(model, vectors=True, **options)(inputs)
    norms = DecompX(model, chunk=2, **options)(inputs)
    same(norms.layers["encoder"], whole.layers["encoder"].norm(dim=-1))
    same(norms.aggregated, whole.layers["encoder"][-1].norm(dim=-1))
    same(whole.scores, DecompX(model)(inputs).scores)
    every = DecompX(model, **options)(inputs, "all")
    assert every.scores.shape == (2, 5, 40)
    chosen = every.scores.gather(2, whole.target[:, None, None].expand(-1, 5, 1))
    same(chosen[..., 0], whole.scores)
    taken = DecompX(model, bias="equal", include_classifier=False)(inputs)
    same(taken.scores, norms.aggregated[:, -1])


def test_cross_attention_has_both_sides():
    model, inputs = vector_model("T5"), vector_batch("T5")
    names = ["decoder.block.1", "encoder.block.1"]
    found = vectors_of(model, inputs, names, bias="none")
    assert found.layers["decoder.block.1"].shape == (2, 3, 8, 16)
    assert (found.layers["encoder.block.1"][:, :, 5:] == 0).all()
    later = found.layers["decoder.block.1"][:, :, 5:].norm(dim=-1)
    assert (later.triu(1) == 0).all()
    assert (later.diagonal(dim1=1, dim2=2) > 0).all()
    with instrument(model) as lrp:
        right = lrp.attribute(inputs, wrt=["input_ids", "decoder_input_ids"]).scores
    same(found.scores, torch.cat(list(right.values()), 1))


# Where a logit's parts are vectors of the head, and what relevance says of them.
HEADS = {"Llama": "model.layers.1.self_attn", "GPT2": "transformer.h.1.attn"}
NEURONS = {
    "Llama": "model.layers.0.mlp.down_proj",
    "GPT2": "transformer.h.0.mlp.c_proj",
}


@pytest.mark.parametrize("family", HEADS)
def test_heads_are_those_of_relevance(family):
    model, inputs = vector_model(family), vector_batch(family)
    found = DecompX(
        model, stages=("lm_head",), vectors=True, sources=Heads(HEADS[family])
    )
    found = found(inputs, 7)
    with instrument(model) as lrp:
        name = f"{HEADS[family]}.heads"
        right = lrp.attribute(inputs, 7, layers=name).layers[name].sum((2, 3))
    same(found.scores[:, :-1], right)
    same(found.scores.sum(1), found.output)
    same(found.layers["lm_head"][:, -1, :, 7], found.scores)
    assert found.tokens == [["head 0", "head 1", "(rest)"]] * 2


@pytest.mark.parametrize("family", NEURONS)
def test_neurons_are_those_of_relevance(family):
    model, inputs = vector_model(family), vector_batch(family)
    source = Neurons(NEURONS[family])
    explainer = DecompX(model, stages=("lm_head",), vectors=True, sources=source)
    found = explainer(inputs, 7)
    with instrument(model) as lrp:
        right = lrp.attribute(inputs, 7, wrt=InputOf(source.module)).values.sum(1)
    same(found.scores[:, :-1], right)
    same(found.layers["lm_head"][:, -1, :, 7], found.scores)


@pytest.mark.parametrize("family", HEADS)
@pytest.mark.parametrize("module", [None, 0])
def test_a_subspace_is_its_projection_times_the_gradient(family, module):
    model, inputs = vector_model(family), vector_batch(family)
    name = None if module is None else blocks_of(family)[module]
    basis = torch.randn(16, 3).double()
    source = Subspace(basis, name)
    explainer = DecompX(model, stages=("lm_head",), vectors=True, sources=source)
    found = explainer(inputs, 7)
    read = name or _again(model, found.meta["read"][0])
    with instrument(model) as lrp:
        values = lrp.attribute(inputs, 7, wrt=read).values
    hidden = hidden_states(model, inputs, [name])[name] if name else None
    if hidden is not None:
        gradient = values / hidden
        projector = basis @ torch.linalg.pinv(basis)
        same(found.scores[:, 0], ((hidden @ projector) * gradient).sum((1, 2)), 1e-8)
    same(found.scores[:, :2].sum(1), values.sum((1, 2)))
    same(found.layers["lm_head"][:, -1, :, 7], found.scores)
    assert found.tokens == [["inside", "outside", "(rest)"]] * 2


def test_spans_are_sums_of_tokens():
    model, inputs = vector_model("Gemma2"), vector_batch("Gemma2")
    tokens = DecompX(model, stages=("encoder",), vectors=True, bias="none")(inputs)
    spans = Spans([(0, 2), (2, 5)])
    found = DecompX(model, stages=("encoder",), vectors=True, sources=spans)(inputs)
    right = tokens.layers["encoder"]
    same(found.layers["encoder"][..., 0, :], right[..., :2, :].sum(3))
    same(found.layers["encoder"][..., 1, :], right[..., 2:, :].sum(3))
    same(
        found.scores[:, :2],
        torch.stack([tokens.scores[:, :2].sum(1), tokens.scores[:, 2:].sum(1)], 1),
    )


def test_what_is_refused():
    model, inputs = vector_model("Llama"), vector_batch("Llama")
    tangent = DecompX(model, bias="absdot", activation="tangent")
    with pytest.raises(UnsupportedModelError, match=r"bias='absdot'.*bias='equal'"):
        tangent(inputs)
    with pytest.raises(UnsupportedModelError, match=r"include_ffn=False"):
        DecompX(model, include_ffn=False, stages=("encoder",))(inputs)
    with pytest.raises(UnsupportedModelError, match=r"stages='ffn'.*'encoder'"):
        DecompX(model, stages=("ffn",))(inputs)
    with pytest.raises(ArgumentError, match=r"stages='model\.layers\.7'"):
        DecompX(model, stages=("model.layers.7",))
    with pytest.raises(ArgumentError, match=r"sources='heads'.*Heads\(module\)"):
        DecompX(model, sources="heads")
    with pytest.raises(ArgumentError, match=r"Spans holds \(3, 9\).*5 tokens"):
        DecompX(model, sources=Spans([(3, 9)]))(inputs)
    with pytest.raises(ArgumentError, match=r"basis of shape \[4, 2\]"):
        DecompX(model, sources=Subspace(torch.ones(4, 2)))(inputs)
    with pytest.raises(ArgumentError, match=r"sources=Neurons\(module='model\.nrm'\)"):
        DecompX(model, sources=Neurons("model.nrm"))
    with pytest.raises(ArgumentError, match="layers="):
        DecompX(model, sources=Heads("model.norm"))(inputs)


BY_VECTORS = ("absdot", "abssim", "norm")


@pytest.mark.parametrize("family", ["GPT2", "OPT", "GPTNeoX", "Qwen2", "Llama", "T5"])
@pytest.mark.parametrize("bias", BY_VECTORS)
def test_rules_that_look_at_vectors_share_every_constant(family, bias):
    model, inputs, names = vector_model(family), vector_batch(family), blocks_of(family)
    found = vectors_of(model, inputs, names, bias=bias)
    for name, hidden in hidden_states(model, inputs, names).items():
        same(found.layers[name].sum(2), hidden)
    same(found.scores.sum(1), found.output)
    if family not in BIASED:
        same(found.scores, DecompX(model, bias="none", stages=names)(inputs).scores)


@pytest.mark.parametrize("family", ["Bert", "Roberta", "DistilBert", "ViT"])
@pytest.mark.parametrize("bias", BY_VECTORS)
def test_rules_that_look_at_vectors_are_those_of_encoders(family, bias):
    """Where attention has no biases, which the published code adds to the residual."""
    model, inputs = fresh(family), batch(family)
    for name, parameter in model.named_parameters():
        inside = "attention" in name and "norm" not in name.lower()
        if inside and name.endswith("bias"):
            parameter.data.zero_()
    last = {
        "Bert": "bert.encoder.layer.1",
        "Roberta": "roberta.encoder.layer.1",
        "DistilBert": "distilbert.transformer.layer.1",
        "ViT": "vit.layers.1",
    }[family]
    own = DecompX(model, bias=bias, stages=("encoder",), vectors=True)(inputs)
    found = vectors_of(model, inputs, [last], bias=bias)
    assert own.meta["path"] == "forward"
    same(found.layers[last], own.layers["encoder"][-1], 1e-9)
    same(found.scores, own.scores, 1e-9)


def test_padding_takes_no_constant():
    model = tiny("GPT2")
    inputs = batch("GPT2")
    found = DecompX(model, bias="absdot", stages=("encoder",), vectors=True)(inputs)
    attended = inputs["attention_mask"].bool()
    assert (found.scores[~attended] == 0).all()
    same(found.scores.sum(1), found.output)
    alone = {k: v[1:, :4] for k, v in inputs.items()}
    own = DecompX(model, bias="absdot", stages=("encoder",), vectors=True)(alone)
    same(found.scores[1:, :4], own.scores)
    same(found.layers["encoder"][:, 1:, :4, :4], own.layers["encoder"])


def test_sources_keep_their_names_where_there_are_as_many_as_tokens():
    model, tokenizer = sentiment_model()
    heads = Heads("bert.encoder.layer.0.attention.self")
    text = "a gripping film"
    found = explain(model, text, "decompx", tokenizer, sources=heads)
    names = [f"head {n}" for n in range(4)]
    assert found.tokens == [[*names, "(rest)"]]
    assert "head 3" in found.to_terminal()
    assert "gripping" not in found.to_html()


@pytest.mark.parametrize("family", ["GPT2", "Llama"])
def test_a_block_that_is_named_too_stays_a_block(family):
    model, inputs, names = vector_model(family), vector_batch(family), blocks_of(family)
    plain = DecompX(model, stages=("encoder", "aggregated"), vectors=True)(inputs)
    for named in ([names[0]], [names[-1]], names):
        stages = ("aggregated", *named, "encoder")
        found = DecompX(model, stages=stages, vectors=True)(inputs)
        same(found.layers["encoder"], plain.layers["encoder"])
        same(found.aggregated, plain.aggregated)
        for name, hidden in hidden_states(model, inputs, named).items():
            same(found.layers[name].sum(2), hidden)
    taken = DecompX(model, include_classifier=False)(inputs).scores
    named = DecompX(model, stages=names[:1], include_classifier=False)(inputs).scores
    same(named, taken)


def test_every_block_of_a_decoder():
    model, inputs = vector_model("T5"), vector_batch("T5")
    names = [n for n in blocks_of("T5") if n.startswith("decoder")]
    names = names or ["decoder.block.0", "decoder.block.1"]
    found = DecompX(model, stages=("encoder",), vectors=True, bias="equal")(inputs)
    hidden = hidden_states(model, inputs, names)
    assert len(found.layers["encoder"]) == len(hidden)
    for own, state in zip(found.layers["encoder"], hidden.values(), strict=True):
        same(own.sum(2), state)


def test_a_basis_of_dependent_columns_spans_the_same():
    model, inputs = vector_model("Llama"), vector_batch("Llama")
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(16, 3, generator=generator, dtype=torch.float64)
    doubled = torch.cat([basis, 2 * basis[:, :1], basis[:, :1] - basis[:, 1:2]], 1)
    name = blocks_of("Llama")[0]
    found = [
        DecompX(model, sources=Subspace(one, name))(inputs).scores
        for one in (basis, doubled, torch.zeros_like(basis))
    ]
    same(found[1], found[0])
    assert (found[2][:, 0] == 0).all()
    assert (found[0][:, 0] != 0).all()


@pytest.mark.parametrize(
    ("spans", "said"), [([], "no span"), ([(0, 4), (2, 5)], "share token 2")]
)
def test_spans_that_are_no_parts(spans, said):
    with pytest.raises(ArgumentError, match=said):
        DecompX(vector_model("Llama"), sources=Spans(spans))(vector_batch("Llama"))


def test_heads_of_a_module_around_the_one_that_attends():
    model, inputs = vector_model("Llama"), vector_batch("Llama")
    inner = DecompX(model, sources=Heads("model.layers.1.self_attn"))(inputs)
    outer = DecompX(model, sources=Heads("model.layers.1"))(inputs)
    same(outer.scores, inner.scores)
    with pytest.raises(ArgumentError, match=r"several.*'model\.layers\.0\.self_attn'"):
        DecompX(model, sources=Heads("model"))(inputs)
