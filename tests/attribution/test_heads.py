"""Attention heads: the law of the projection, a brute-force oracle, every kernel."""

import pytest
import torch
import transformers
from torch import nn

from generation_models import language_model
from lrp_hooks import heads, instrument
from oracles import close
from small_models import encoder, make
from strategies import noise, tokens

PROJECTIONS = {
    "bert": ("bert.encoder.layer.{}.attention.self", "..output.dense"),
    "gpt2": ("transformer.h.{}.attn", ".c_proj"),
    "llama": ("model.layers.{}.self_attn", ".o_proj"),
}
KERNELS = ("eager", "sdpa")
RULES = ("conservative", "cp-lrp", "attnlrp")
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2}


def names(family, layer):
    """Return an attention module and the projection that follows it."""
    module, projection = PROJECTIONS[family]
    module = module.format(layer)
    if projection.startswith(".."):
        return module, module.rpartition(".")[0] + projection[1:]
    return module, module + projection


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", PROJECTIONS)
def test_heads_have_what_enters_the_projection(family, kernel, rules):
    model, inputs = make(f"{family} {kernel}", torch.float64)
    pairs = [names(family, layer) for layer in range(2)]
    with instrument(model, rules) as lrp:
        found = lrp.attribute(inputs, 1, layers=["heads", *(p for _, p in pairs)])
    by_head, placed = heads(found), heads(found, by_position=True)
    assert list(by_head) == [module for module, _ in pairs]
    for module, projection in pairs:
        assert by_head[module].shape == (2, 2) and placed[module].shape == (2, 2, 5)
        close(placed[module].sum(2), by_head[module])
        bias = found.ledger.positions.get(f"{projection}.bias", 0.0)
        entering = found.layers[projection].sum(-1) - bias
        assert entering.abs().max() > 1e-4
        close(placed[module].sum(1), entering)


@pytest.mark.parametrize("kernel", KERNELS)
def test_bert_heads_are_slices_of_what_attention_returns(kernel):
    model, inputs = make(f"bert {kernel}", torch.float64)
    module, _ = names("bert", 0)
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, layers=[module, "heads"])
    slices = found.layers[module].unflatten(-1, (2, 4)).transpose(1, 2)
    close(found.layers[f"{module}.heads"], slices)


@pytest.mark.parametrize("settings", [{"num_key_value_heads": 2}, GROUPED])
def test_a_head_is_worth_what_zeroing_it_costs_the_linearised_twin(settings):
    model = language_model("Llama", attn_implementation="eager", **settings)
    inputs = {"input_ids": tokens(2, 5)}
    with instrument(model) as lrp:
        found = heads(lrp.attribute(inputs, 3, layers="heads"))
    count = model.config.num_attention_heads
    twin = FrozenLlama(model, inputs["input_ids"])
    clean = twin.logit(3)
    close(clean, model(**inputs).logits[:, -1, 3].detach(), 1e-5)
    for layer, module in enumerate(found):
        assert found[module].shape == (2, count)
        for head in range(count):
            cost = clean - twin.logit(3, zeroed=(layer, head))
            close(found[module][:, head], cost, 1e-5)


class FrozenLlama:
    """The twin by hand: every gate is the number that it was in the clean pass."""

    def __init__(self, model, ids):
        self.model, self.ids = model, ids
        with torch.no_grad():
            self.maps = model(ids, output_attentions=True).attentions
        self.gates = {}
        self.kept = False
        self.logit(0)
        self.kept = True

    def gate(self, key, value):
        return self.gates[key] if self.kept else self.gates.setdefault(key, value)

    def norm(self, key, module, x):
        scale = x.square().mean(-1, keepdim=True) + module.variance_epsilon
        return module.weight * x * self.gate(key, scale.rsqrt())

    @torch.no_grad()
    def logit(self, target, zeroed=None):
        model = self.model.model
        count = self.model.config.num_attention_heads
        x = model.embed_tokens(self.ids)
        for i, layer in enumerate(model.layers):
            attention = layer.self_attn
            y = self.norm((i, "norm"), layer.input_layernorm, x)
            value = attention.v_proj(y).unflatten(-1, (-1, attention.head_dim))
            value = value.repeat_interleave(count // value.shape[2], 2)
            mixed = self.maps[i] @ value.transpose(1, 2)
            if zeroed is not None and zeroed[0] == i:
                mixed[:, zeroed[1]] = 0.0
            x += attention.o_proj(mixed.transpose(1, 2).flatten(2))
            y = self.norm((i, "mlp norm"), layer.post_attention_layernorm, x)
            gate, up = layer.mlp.gate_proj(y), layer.mlp.up_proj(y)
            slope = self.gate((i, "slope"), gate.sigmoid())
            a, u = self.gate((i, "a"), slope * gate), self.gate((i, "u"), up)
            x += layer.mlp.down_proj((slope * gate * u + a * up) / 2)
        return self.model.lm_head(self.norm("last", model.norm, x))[:, -1, target]


@pytest.mark.parametrize("shape", ["Gemma2", "GPTJ"])
def test_capped_scores_and_models_without_fused_attention(shape):
    model = language_model(shape, attn_implementation="eager")
    projections = [
        name
        for name, _ in model.named_modules()
        if name.endswith(("o_proj", "attn.out_proj"))
    ]
    inputs = {"input_ids": tokens(2, 5) % 10, "use_cache": False}
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, 2, layers=["heads", *projections])
    for name, values in zip(projections, heads(found).values(), strict=True):
        assert values.shape == (2, 2)
        close(values.sum(1), found.layers[name].sum((1, 2)))


@pytest.mark.parametrize("shape", ["Qwen2", "Qwen3", "Llama"])
def test_kernels_agree_in_every_architecture(shape):
    found = {}
    for kernel in KERNELS:
        model = language_model(shape, attn_implementation=kernel)
        inputs = {"input_ids": tokens(2, 5) % 10, "use_cache": False}
        with instrument(model) as lrp:
            found[kernel] = heads(lrp.attribute(inputs, 2, layers="heads"))
    eager, sdpa = found.values()
    assert len(eager) == 2
    for name, values in eager.items():
        assert values.shape == (2, 2)
        close(values, sdpa[name], 1e-5)


class Attending(nn.Module):
    """Attention in its many spellings, H = 2 of width 4, by the outermost module."""

    def __init__(self, spelling):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 3, bias=False)
        self.spelling = spelling
        self.double()

    def forward(self, x):
        if self.spelling.startswith("module"):
            weights = self.spelling.endswith("weights")
            y = self.inner(x, x, x, need_weights=weights)[0]
        else:
            y = self.inner.out_proj(self.mixed(x).transpose(1, 2).flatten(2))
        return self.last(y.mean(1))

    def mixed(self, x):
        inner = self.inner
        qkv = nn.functional.linear(x, inner.in_proj_weight, inner.in_proj_bias)
        q, k, v = (part.unflatten(-1, (2, 4)) for part in qkv.chunk(3, -1))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / 2
        p = scores.softmax(-1)
        p = torch.where(p.isnan(), torch.zeros_like(p), p).double().type(x.dtype)
        if self.spelling == "bmm":
            values = v.transpose(1, 2).flatten(0, 1)
            return (p.flatten(0, 1) @ values).unflatten(0, (-1, 2))
        if self.spelling == "matmul":
            return p @ v.transpose(1, 2)
        factors = (p, v) if self.spelling.startswith("bh") else ([v, p],)
        mixed = torch.einsum(self.spelling, *factors)
        return mixed.transpose(1, 2) if self.spelling.endswith("qhd") else mixed


SPELLINGS = (
    "module, weights",
    "module",
    "bmm",
    "matmul",
    "bhqk, bkhd -> bhqd",
    "bhqk,bkhd->bqhd",
    "bkhd,bhqk->bqhd",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_attention_gives_the_closed_form(spelling):
    model, x = Attending(spelling), noise(3, 5, 8, dtype=torch.float64)
    with instrument(model) as lrp:
        found = lrp.attribute(x, 1, layers=["heads"])
    ((name, by_head),) = heads(found).items()
    assert name == ("inner" if spelling.startswith("module") else "")
    matmul = Attending("matmul").mixed(x)  # [B, H, T, D]
    weight = (model.last.weight[1] @ model.inner.out_proj.weight).view(2, 1, 4)
    expected = (matmul * weight / 5).detach()
    ((_, values),) = found.layers.items()
    close(values, expected)
    close(by_head, expected.sum((2, 3)))


def test_a_transformer_encoder_names_its_attention():
    model, x = encoder(dtype=torch.float64), noise(2, 5, 8, dtype=torch.float64)
    with instrument(model) as lrp:
        found = lrp.attribute(
            x, lambda y: y.sum((1, 2)), layers=["layers.1.self_attn.heads"]
        )
    assert list(found.layers) == ["layers.1.self_attn.heads"]
    assert found.layers["layers.1.self_attn.heads"].shape == (2, 2, 5, 4)


def test_windows_of_an_image_are_one_sequence():
    config = transformers.SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[2], num_heads=[2]
    )
    config.window_size = 4
    torch.default_generator.manual_seed(0)
    model = transformers.SwinForImageClassification(config).double().eval()
    pixels = noise(2, 3, 16, 16, dtype=torch.float64)
    module = "swin.encoder.layers.0.blocks.1.attention"
    layers = ["heads", f"{module}.o_proj"]
    with instrument(model) as lrp:
        found = lrp.attribute({"pixel_values": pixels}, 0, layers=layers)
    placed = heads(found, by_position=True)[module]
    assert placed.shape == (2, 2, 64)
    assert not model.get_submodule(f"{module}.o_proj").bias.any()
    windows = found.layers[f"{module}.o_proj"]  # [B * 4, 16, D], example by example
    close(placed.sum(1), windows.sum(-1).view(2, 64))


def test_a_module_that_attends_again_has_a_number():
    config = transformers.AlbertConfig(
        vocab_size=30, embedding_size=8, hidden_size=8, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=12, max_position_embeddings=16,
    )  # fmt: skip
    torch.default_generator.manual_seed(0)
    model = transformers.AlbertForSequenceClassification(config).double().eval()
    assert not any(p.any() for n, p in model.named_parameters() if "dense.bias" in n)
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention"
    with instrument(model) as lrp:
        found = lrp.attribute(tokens(2, 5), layers=["heads", f"{layer}.dense"])
    by_head = heads(found, by_position=True)
    assert list(by_head) == [layer, f"{layer}:2", f"{layer}:3"]
    assert not torch.equal(by_head[layer], by_head[f"{layer}:2"])
    close(by_head[f"{layer}:3"].sum(1), found.layers[f"{layer}.dense"].sum(-1))


class Copying(nn.Module):
    """Looks up other ids: the model runs again to find the embedding."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.table, self.attend = nn.Embedding(30, 8), Attending("matmul").float()
        self.runs = 0

    def forward(self, ids):
        self.runs += 1
        return self.attend(self.table((ids + 1) % 30))


def test_heads_are_those_of_the_last_run():
    model = Copying()
    with instrument(model) as lrp:
        found = lrp.attribute(tokens(2, 5), 0, layers="heads")
    assert model.runs > 1
    assert list(heads(found)) == ["attend"]
