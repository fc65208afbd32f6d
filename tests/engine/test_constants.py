"""A constant is what does not depend on what is read, however it is made."""

import copy
import warnings
from collections import OrderedDict, defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from transformers import BertConfig, BertForSequenceClassification

from lrp_hooks import (
    LrpHooksWarning,
    SecondOrderError,
    WeightGradientWarning,
    instrument,
)
from lrp_hooks.engine.nested import replace_floats

COMPLETE = ("conservative", "cp-lrp", "attnlrp")


class Made(nn.Module):
    """A weight made of another one by a module without parameters."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, w):
        return self.make(w)


class RMS(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return x * scale * self.weight


class Pool(nn.Module):
    """Attention from a learned query that goes through modules of its own."""

    def __init__(self, act):
        super().__init__()
        self.query = nn.Parameter(torch.randn(2, 8))
        self.norm, self.act = RMS(8), act
        self.kv = nn.Linear(6, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        query = self.act(self.norm(self.query))
        key, value = self.kv(x).chunk(2, -1)
        mixed = torch.softmax(query @ key.mT / 8**0.5, -1) @ value
        return self.head((mixed * query + query).flatten(1))


MAKERS = {
    "abs": torch.abs,
    "half": lambda w: w * 0.5,
    "square": torch.square,
    "tanh": torch.tanh,
    "clamp": lambda w: w.clamp(-0.5, 0.5),
    "normalized": lambda w: F.normalize(w, dim=-1),
    "straight through": lambda w: w + (w.round() - w).detach(),
}
ACTIVATIONS = (nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus, nn.ReLU, nn.Identity)


def network(*middle):
    torch.default_generator.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8), *middle, nn.Linear(8, 3)]
    return nn.Sequential(*layers).double().eval()


def inputs(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def explained(model, x, rules="conservative"):
    with warnings.catch_warnings():
        warnings.simplefilter("error", LrpHooksWarning)
        with instrument(model, rules, strict=True) as lrp:
            return lrp.attribute(x, 0)


def assert_same(one, other):
    assert torch.allclose(one.scores, other.scores, atol=1e-12, rtol=0)
    assert one.ledger.error.max() < 1e-10
    assert other.ledger.error.max() < 1e-10


@pytest.mark.parametrize("rules", COMPLETE)
@pytest.mark.parametrize("make", MAKERS)
def test_a_parametrized_weight_is_the_weight_that_it_makes(make, rules):
    net, baked = network(nn.GELU()), network(nn.GELU())
    with torch.no_grad():
        baked[2].weight.copy_(MAKERS[make](baked[2].weight))
    made = Made(MAKERS[make])
    parametrize.register_parametrization(net[2], "weight", made, unsafe=True)
    x = inputs(2, 6)
    assert torch.equal(net(x), baked(x))
    assert_same(explained(net, x, rules), explained(baked, x, rules))


@pytest.mark.parametrize("rules", COMPLETE)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_a_module_on_a_learned_query_is_no_signal(act, rules):
    torch.default_generator.manual_seed(1)
    pool = Pool(act()).double().eval()
    frozen = copy.deepcopy(pool).requires_grad_(False)
    x = inputs(2, 5, 6)
    assert_same(explained(pool, x, rules), explained(frozen, x, rules))


@given(st.integers(0, 2**16), st.lists(st.sampled_from(sorted(MAKERS)), max_size=3))
def test_scores_do_not_change_with_requires_grad(seed, made):
    torch.default_generator.manual_seed(seed)
    middle = [nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 8), nn.SiLU()]
    net = network(*middle)
    for name in made:
        linear = net[torch.randint(0, 2, ()).item() * 2]
        made_by = Made(MAKERS[name])
        parametrize.register_parametrization(linear, "weight", made_by, unsafe=True)
    some = copy.deepcopy(net)
    for parameter in some.parameters():
        parameter.requires_grad_(bool(torch.rand(()) < 0.5))
    x = inputs(3, 6)
    frozen = explained(copy.deepcopy(net).requires_grad_(False), x)
    assert_same(explained(net, x), frozen)
    assert_same(explained(some, x), frozen)


@pytest.mark.parametrize(
    "weigh", [parametrizations.weight_norm, parametrizations.orthogonal]
)
def test_torchs_own_parametrizations(weigh):
    net = weigh(network(nn.GELU())[2])
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), net, nn.Linear(8, 3)).double()
    x = inputs(2, 6)
    frozen = copy.deepcopy(net).requires_grad_(False)
    assert_same(explained(net, x), explained(frozen, x))


class Wrapped(nn.Module):
    """Calls a network with weights that come from elsewhere."""

    def __init__(self, net, weights):
        super().__init__()
        self.net, self.weights = net, weights

    def forward(self, x):
        return functional_call(self.net, self.weights, (x,))


@pytest.mark.parametrize("kind", ["leaf", "parameter", "computed", "constant"])
def test_weights_of_a_functional_call_are_constants(kind):
    net = network(nn.GELU())
    start = {name: p.detach() * 1.5 for name, p in net.named_parameters()}
    weights = {
        "leaf": lambda w: w.clone().requires_grad_(),
        "parameter": nn.Parameter,
        "computed": lambda w: w.clone().requires_grad_() * 1.0,
        "constant": torch.clone,
    }[kind]
    given = {name: weights(w) for name, w in start.items()}
    baked = copy.deepcopy(net)
    baked.load_state_dict(start)
    x = inputs(2, 6)
    right = explained(baked, x)
    with instrument(net) as lrp:
        seen = inputs(2, 6).copy_(x).requires_grad_()
        out = functional_call(net, given, (seen,))[:, 0]
        (grad,) = torch.autograd.grad(out.sum(), seen)
        assert torch.equal(out.detach(), baked(x)[:, 0])
        assert lrp.model is net
    assert torch.allclose(grad * x, right.values, atol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # of peft
def test_an_adapter_around_the_embedding_belongs_to_the_token():
    peft = pytest.importorskip("peft")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.default_generator.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32}
    base = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).double()
    config = peft.LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"])
    model = peft.get_peft_model(base, config).double().eval()
    for name, parameter in model.named_parameters():
        if "lora" in name:
            parameter.data.normal_(0, 0.3)
    merged = copy.deepcopy(model).merge_and_unload().eval()
    ids = {"input_ids": torch.randint(1, 32, (1, 5))}
    ours, right = (explained(m, ids) for m in (model, merged))
    assert torch.allclose(ours.scores, right.scores, atol=1e-10)
    assert ours.meta["read"] == ["base_model.model.model.embed_tokens"]


class Reader(nn.Module):
    """Looks ids up in an embedding, or in a parameter."""

    def __init__(self, bare):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.bare = nn.Parameter(torch.randn(10, 4)) if bare else None
        self.head = nn.Linear(4, 3)

    def forward(self, ids):
        looked = self.table(ids) if self.bare is None else self.bare[ids]
        return self.head(torch.tanh(looked).mean(1))


def trained(model, rules):
    ids, label = torch.tensor([[1, 2, 3]]), torch.tensor([1])
    step = instrument(model, rules) if rules else None
    F.cross_entropy(model(ids), label).backward()
    if step is not None:
        step.remove()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("bare", [False, True])
def test_the_gradient_set_leaves_weights_their_gradients(bare):
    torch.default_generator.manual_seed(0)
    model = Reader(bare)
    right = trained(copy.deepcopy(model), None)
    found = trained(model, "gradient")
    assert right.keys() == found.keys()
    assert all(torch.equal(right[name], found[name]) for name in right)


@pytest.mark.parametrize("rules", ["ah+ln", *COMPLETE])
@pytest.mark.parametrize("bare", [False, True])
def test_other_sets_say_once_that_weights_get_none(bare, rules):
    model = Reader(bare)
    ids, label = torch.tensor([[1, 2, 3]]), torch.tensor([1])
    with instrument(model, rules):
        with pytest.warns(WeightGradientWarning, match="weights are constants"):
            F.cross_entropy(model(ids), label).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("error", LrpHooksWarning)
            F.cross_entropy(model(ids), label).backward()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("rules", COMPLETE)
def test_outputs_that_are_made_of_each_other_stay_so(rules):
    config = BertConfig(
        vocab_size=9,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        attn_implementation="eager",
    )
    model = BertForSequenceClassification(config).eval()
    embedded = torch.randn(1, 3, 8, requires_grad=True)
    asked = {"output_attentions": True, "output_hidden_states": True}
    with instrument(model, rules), pytest.warns(WeightGradientWarning):
        found = model(inputs_embeds=embedded, **asked)
        found.hidden_states[1].retain_grad()
        found.logits[0, 1].backward()
        assert found.hidden_states[1].grad.abs().sum() > 0
        assert embedded.grad.abs().sum() > 0
        model(torch.tensor([[1, 2, 3]]), **asked).logits[0, 1].backward()


def lend(layer, freed):
    """Have a layer's bias come for each call and go after it, as sharded ones do."""
    master = layer.bias.detach().clone()

    def bring(module, args):
        module.bias = nn.Parameter(master.clone())

    def take(module, args, output):
        if freed:
            module.bias.untyped_storage().resize_(0)

    layer.register_forward_pre_hook(bring)
    layer.register_forward_hook(take)


@pytest.mark.parametrize("freed", [False, True])
@pytest.mark.parametrize("rules", COMPLETE)
def test_a_bias_that_is_lent_for_a_call(rules, freed):
    torch.default_generator.manual_seed(0)
    parts = nn.Conv1d(4, 4, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(20, 2)
    model = nn.Sequential(*parts).double()
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    with instrument(model, rules) as lrp:
        right = lrp.attribute(x, 1)
    lend(model[0], freed)
    lend(model[3], freed)
    with instrument(model, rules) as lrp:
        found = lrp.attribute(x, 1)
    torch.testing.assert_close(found.scores, right.scores)
    assert found.ledger.error.max() < 1e-12
    assert found.ledger.sources.keys() == right.ledger.sources.keys()


class Gated(nn.Module):
    """Multiplies an input by another one."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x, gate):
        return self.head(x * gate)


@pytest.mark.parametrize("trainable", [False, True])
def test_a_constant_beside_what_is_read_stays_one(trainable):
    model = Gated().requires_grad_(trainable)
    x, gate = torch.randn(2, 4).requires_grad_(), torch.rand(2, 4)
    with instrument(model):
        output = model(x, gate=gate)
        (grad,) = torch.autograd.grad(output[:, 1].sum(), x)
    torch.testing.assert_close((x * grad).sum(1), output[:, 1])


def test_relevance_alone_is_no_question_about_weights():
    net, x = network(nn.GELU()), inputs(2, 6).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error", LrpHooksWarning)
        with instrument(net) as lrp:
            torch.autograd.grad(net(x)[:, 0].sum(), x)
            net(x)[:, 0].sum().backward(inputs=[x])
            lrp.attribute(x.detach(), 0)
            lrp.audit(x.detach(), 0)
    frozen = network(nn.GELU()).requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LrpHooksWarning)
        with instrument(frozen):
            frozen(x)[:, 0].sum().backward()


def test_a_gradient_of_relevance_is_refused_but_for_the_plain_one():
    net, x = network(nn.GELU()), inputs(2, 6).requires_grad_()
    asked = [net[0].weight, net[2].weight]

    def penalty(*asked):
        (grad,) = torch.autograd.grad(net(x)[:, 0].sum(), x, create_graph=True)
        loss = (grad * x).square().sum()
        return torch.autograd.grad(loss, asked, allow_unused=True)

    with instrument(net) as lrp:
        values = lrp.attribute(x.detach(), 0).values
        (grad,) = torch.autograd.grad(net(x)[:, 0].sum(), x, create_graph=True)
        assert torch.allclose(grad * x, values)
        for one in (*asked, net[4].bias, x):
            with pytest.raises(SecondOrderError, match="create_graph"):
                penalty(one)
        with pytest.raises(SecondOrderError):
            (grad * x).square().sum().backward()
    right = penalty(*asked)
    with instrument(net, "gradient"):
        found = penalty(*asked)
    assert all(map(torch.equal, right, found))


def test_the_gradient_set_with_an_override_keeps_the_override():
    from lrp_hooks.rules import Activation

    net, x = network(nn.GELU()), inputs(2, 6).requires_grad_()
    with instrument(net, "gradient", overrides={"3": Activation()}) as lrp:
        (grad,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
        right = lrp.attribute(x.detach(), 0)
    assert torch.allclose(grad * x, right.values)


def test_outputs_keep_their_types():
    floats, ids = torch.ones(2), torch.ones(2, dtype=torch.long)
    given = OrderedDict([(1, floats), ("b", [ids, (floats,)])])
    made = replace_floats(given, lambda t: t + 1)
    assert type(made) is OrderedDict and list(made) == [1, "b"]
    assert made["b"][0] is ids and torch.equal(made["b"][1][0], floats + 1)
    assert torch.equal(given[1], torch.ones(2))
    rows = defaultdict(list, {"a": floats})
    assert replace_floats(rows, torch.neg)["nosuch"] == []


class Moved(nn.Module):
    """Multiplies a transposed tensor by a weight, for which torch has two kernels."""

    def __init__(self, make):
        super().__init__()
        self.layer = make(nn.Linear(4, 4))

    def forward(self, x):
        return self.layer(x.transpose(1, 2)).mean(1)


@pytest.mark.parametrize(
    "make", [parametrizations.weight_norm, parametrizations.orthogonal]
)
def test_outputs_behind_parametrized_weights_are_bit_identical(make):
    torch.default_generator.manual_seed(0)
    model = Moved(make).double()
    for _ in range(20):
        x = inputs(2, 4, 3).requires_grad_()
        plain = model(x)
        with instrument(model):
            assert torch.equal(model(x), plain)


class Codebooks(nn.Module):
    """Names a list of tables as its input embedding, which is never called itself."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(9, 4) for _ in range(2))
        self.head = nn.Linear(4, 3)

    def get_input_embeddings(self):
        return self.tables

    def forward(self, ids):
        found = sum(table(ids) for table in self.tables)
        return self.head(found.mean(1))


def test_a_list_of_tables_is_no_embedding():
    with instrument(Codebooks()) as lrp:
        found = lrp.attribute(torch.tensor([[1, 2, 3]]), 1)
    assert found.scores.abs().sum() > 0
    assert found.ledger.error.max() < 1e-5
