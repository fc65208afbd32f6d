"""What a scope cannot see by itself is run where it can, or told."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from lrp_hooks import (
    CompiledModelError,
    UnruledError,
    UnruledWarning,
    UnsupportedModelError,
    instrument,
)
from strategies import noise


class Net(nn.Module):
    """Linear, a function of one's choice, Linear; in float64."""

    def __init__(self, function, *parts):
        super().__init__()
        torch.default_generator.manual_seed(1)
        self.before, self.after = nn.Linear(6, 6), nn.Linear(6, 3)
        self.parts = nn.ModuleList(parts)
        self.function = function
        self.double().eval()

    def forward(self, x):
        return self.after(self.function(self.before(x)).mean(1))


def explain(model, strict=True, **settings):
    with instrument(model, strict=strict, **settings) as lrp:
        return lrp.attribute(noise(2, 4, 6), target=1)


def assert_same(found, right):
    assert torch.equal(found.output, right.output)
    assert_close(found.values, right.values, rtol=1e-10, atol=1e-12)
    assert (found.ledger.error < 1e-10).all()


def gated(x):
    return torch.tanh(x) * x.roll(1, 1) + 0.3


def attended(x):
    return torch.softmax(x @ x.mT, -1) @ F.gelu(x)


def normed(x):
    return F.layer_norm(x, x.shape[-1:]) * torch.sigmoid(x)


FUNCTIONS = [gated, attended, normed]


# In the forward pass, whoever runs it ---------------------------------------------


def checkpointed(function):
    return lambda x: checkpoint(function, x, use_reentrant=False)


def nested(function):
    return checkpointed(lambda x: checkpoint(function, x, use_reentrant=False))


def compiled(function):
    return torch.compile(function, backend="eager")


class Part(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def in_a_thread(function):
    part = Part(function)

    def run(x):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(part, x).result()

    run.part = part
    return run


WAYS = [checkpointed, nested, compiled, in_a_thread]


@given(st.sampled_from(WAYS), st.sampled_from(FUNCTIONS), st.sampled_from(FUNCTIONS))
def test_the_way_a_function_is_run_changes_nothing(way, first, second):
    def plain(x):
        return second(first(x))

    inside = way(plain)
    parts = [inside.part] if hasattr(inside, "part") else []
    assert_same(explain(Net(inside, *parts)), explain(Net(plain)))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_backward_pass_of_ones_own_through_a_checkpoint(function, reentrant):
    right = explain(Net(function))
    model = Net(lambda x: checkpoint(function, x, use_reentrant=reentrant))
    x = noise(2, 4, 6).requires_grad_()
    with instrument(model):
        model(x)[:, 1].sum().backward()
    assert_close(x.grad * x.detach(), right.values, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("part", [False, True])
def test_a_backward_pass_through_a_checkpoint_after_removal(reentrant, part):
    function = nn.LayerNorm(6) if part else gated
    parts = [function] if part else []
    model = Net(lambda x: checkpoint(function, x, use_reentrant=reentrant), *parts)
    x = noise(2, 4, 6).requires_grad_()
    with instrument(model):
        output = model(x)[:, 1].sum()
    with pytest.raises(UnruledError, match=r"remove\(\).*checkpoint"):
        output.backward()


def test_checkpoints_are_none_of_ours_once_the_rules_are_off():
    model = Net(lambda x: checkpoint(gated, x, use_reentrant=True))
    x = noise(2, 4, 6).requires_grad_()
    (plain,) = torch.autograd.grad(Net(gated)(x)[:, 1].sum(), x)
    with instrument(model):
        pass
    model(x)[:, 1].sum().backward()
    assert torch.equal(x.grad, plain)


def test_a_compiled_forward_is_run_as_it_is_written():
    model = Net(gated)
    right = explain(Net(gated))
    model.forward = torch.compile(model.forward, backend="eager")
    assert_same(explain(model), right)
    x = noise(2, 4, 6).requires_grad_()
    with instrument(model, strict=True):
        model(x)[:, 1].sum().backward()
    assert_close(x.grad * x.detach(), right.values)


def test_the_compiler_goes_on_afterwards():
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    function = torch.compile(gated, backend=backend)
    model = Net(function)
    explain(model)
    assert not seen
    model(noise(2, 4, 6))
    assert seen


def counting():
    """Return a compiler's backend, and the graphs that it was given."""
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    return backend, seen


def test_under_autograd_rules_a_compiler_finds_the_model_as_it_is():
    model, x = Net(gated), noise(2, 4, 6).requires_grad_()
    right = torch.autograd.grad(model(x)[:, 1].sum(), [x, *model.parameters()])
    backend, seen = counting()
    with instrument(model, "gradient", strict=True) as lrp:
        ledger = lrp.attribute(x, target=1).ledger
        outer = torch.compile(model, backend=backend, fullgraph=True)
        found = torch.autograd.grad(outer(x)[:, 1].sum(), [x, *model.parameters()])
        assert torch.equal(lrp.attribute(x, target=1).ledger.error, ledger.error)
    assert len(seen) == 1
    assert all(map(torch.equal, found, right))


def test_under_autograd_rules_what_is_compiled_stays_compiled():
    backend, seen = counting()
    model = Net(torch.compile(gated, backend=backend))
    with instrument(model, "gradient"):
        model(noise(2, 4, 6))
    assert len(seen) == 1


@pytest.mark.parametrize("call", [lambda m: m, lambda m: lambda x: m.forward(x) * 1])
def test_a_compiler_around_an_instrumented_model(call):
    model, x = Net(gated), noise(2, 4, 6)
    with instrument(model, strict=True) as lrp:
        with pytest.raises(CompiledModelError, match=r"compile.*the model itself"):
            torch.compile(call(model), backend="eager")(x)
        assert_same(lrp.attribute(x, target=1), explain(Net(gated)))


# Threads --------------------------------------------------------------------------


class Experts(nn.Module):
    def __init__(self, parallel, *kinds):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.experts = nn.ModuleList(kind() for kind in kinds)
        self.head, self.parallel = nn.Linear(6, 3), parallel
        self.double().eval()

    def forward(self, x):
        if not self.parallel:
            return self.head(sum(expert(x) for expert in self.experts).mean(1))
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda expert: expert(x), self.experts))
        return self.head(sum(found).mean(1))


def linear():
    return nn.Linear(6, 6)


def block():
    return nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6))


@pytest.mark.parametrize("kinds", [(linear, linear), (block, block), (block, linear)])
def test_modules_in_threads_write_in_the_same_ledger(kinds):
    found, right = (explain(Experts(p, *kinds)) for p in (True, False))
    assert_same(found, right)
    for name, terms in right.ledger.sources.items():
        assert_close(found.ledger.sources[name], terms, msg=name)


def test_a_function_in_a_thread_is_told():
    def run(x):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(gated, x).result()

    with pytest.raises(UnruledError, match="another thread"):
        explain(Net(run))


def test_another_thread_does_not_write_in_the_ledger():
    model, other = Net(gated), noise(2, 4, 6)
    right = explain(Net(gated))

    def aside(module, args, output):
        def work():
            leaf = other.clone().requires_grad_()
            model.before(leaf).sum().backward()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()

    handle = model.after.register_forward_hook(aside)
    assert_same(explain(model), right)
    handle.remove()


# Hooks of others ------------------------------------------------------------------


class Hooked(nn.Module):
    """What the hooks do, written in a forward instead."""

    def __init__(self, module, kind, change):
        super().__init__()
        self.module, self.kind, self.change = module, kind, change

    def forward(self, *args):
        if self.kind == "before":
            return self.module(*self.change(args))
        return self.change(self.module(*args))


def changed(value):
    if isinstance(value, tuple):
        return (changed(value[0]), *value[1:])
    return value * torch.sigmoid(value) + 0.5


@given(
    st.sampled_from(["before", "after"]),
    st.sampled_from(["", "0", "1", "2", "2.1"]),
    st.booleans(),
)
def test_hooks_of_others_stand_outside_a_modules_rule(kind, name, first):
    def build():
        torch.default_generator.manual_seed(0)
        inner = nn.Sequential(nn.Linear(6, 6), nn.GELU())
        model = nn.Sequential(nn.LayerNorm(6), nn.SiLU(), inner, nn.Linear(6, 3))
        return model.double().eval()

    def put(model):
        module = model.get_submodule(name)
        if kind == "before":
            return module.register_forward_pre_hook(lambda m, args: changed(args))
        return module.register_forward_hook(lambda m, args, out: changed(out))

    written = build()
    parent, _, last = name.rpartition(".")
    module = Hooked(written.get_submodule(name), kind, changed)
    if name:
        written.get_submodule(parent)[int(last)] = module
    else:
        written = module
    right = explain_rows(written)
    model = build()
    if first:
        put(model)
    with instrument(model, strict=True) as lrp:
        if not first:
            put(model)
        found = lrp.attribute(noise(2, 6), target=1)
        leaf = noise(2, 6).requires_grad_()
        model(leaf)[:, 1].sum().backward()
    assert_same(found, right)
    assert_close(leaf.grad * leaf.detach(), right.values)


def explain_rows(model):
    with instrument(model, strict=True) as lrp:
        return lrp.attribute(noise(2, 6), target=1)


# TorchScript ----------------------------------------------------------------------


@torch.jit.script
def scripted_gelu(x):
    return F.gelu(x)


@torch.jit.script
def scripted_product(x):
    return x * x.roll(1, 1)


@torch.jit.script
def scripted_half(x):
    return x * 0.5


@pytest.mark.parametrize("function", [scripted_gelu, scripted_product])
def test_a_script_function_is_told_by_name(function):
    for _ in range(4):  # torch optimises it after some runs
        with pytest.raises(UnruledError, match=function.name):
            explain(Net(function))
    with instrument(Net(function)) as lrp:
        with pytest.warns(UnruledWarning, match=function.name):
            lrp.model(noise(2, 4, 6).requires_grad_())


def test_a_linear_script_function_is_no_reason_to_complain():
    assert_same(explain(Net(scripted_half)), explain(Net(lambda x: x * 0.5)))


@pytest.mark.parametrize("make", [torch.jit.script, None])
def test_a_script_module_is_told_by_name(make):
    part = nn.Sequential(nn.GELU(), nn.LayerNorm(6, dtype=torch.float64)).eval()
    example = noise(2, 4, 6)
    part = torch.jit.trace(part, example) if make is None else make(part)
    model = nn.Sequential(nn.Linear(6, 6).double(), part, nn.Linear(6, 3).double())
    with instrument(model) as lrp:
        rows = {row.module: row for row in lrp.coverage.rows}
        assert not any(row.rule for n, row in rows.items() if n.startswith("1"))
        with pytest.warns(UnruledWarning, match=r"TorchScript \(in 1\)"):
            lrp.attribute(example, target=lambda out: out[:, 0, 1])
    assert "_call_impl" not in vars(part)


def test_a_model_that_is_torchscript_is_refused():
    model = torch.jit.trace(Net(F.gelu), noise(2, 4, 6))
    with pytest.raises(UnsupportedModelError, match="TorchScript"):
        instrument(model)


# Custom functions -----------------------------------------------------------------


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


def test_a_custom_function_on_a_later_path_is_told():
    model = Net(lambda x: Squared.apply(x) if float(x.sum()) > 0 else x)
    bias = model.before.bias.detach().clone()
    with instrument(model, strict=True) as lrp:
        for shift in (-9.0, 9.0, -9.0):
            model.before.bias.data.copy_(bias + shift)
            if shift < 0:
                lrp.attribute(noise(2, 4, 6), target=1)
                continue
            with pytest.raises(UnruledError, match="Squared"):
                lrp.attribute(noise(2, 4, 6), target=1)


# Gradients inside, and other ways to differentiate --------------------------------


class Force(nn.Module):
    """Energy, then forces: a model that differentiates in its forward."""

    def __init__(self, way):
        super().__init__()
        torch.default_generator.manual_seed(0)
        energy = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh())
        self.energy = nn.Sequential(energy, nn.Linear(8, 1))
        self.head, self.way = nn.Linear(6, 3), way
        self.double().eval()

    def forward(self, x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.clone().requires_grad_()
            return self.head(self.way(self.energy, x).mean(1))


def by_grad(energy, x):
    return torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]


def by_backward(energy, x):
    leaf = x.detach().requires_grad_()
    energy(leaf).sum().backward()
    return leaf.grad + x


def by_func(energy, x):
    return torch.func.grad(lambda a: energy(a).sum())(x)


def by_vmap(energy, x):
    return torch.vmap(energy)(x) * x


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("way", [by_grad, by_backward, by_func, by_vmap])
def test_outputs_of_a_model_that_differentiates_inside_do_not_change(way, recorded):
    model, x = Force(way), noise(2, 4, 6)
    plain = model(x).detach()
    with instrument(model), warnings.catch_warnings():
        warnings.simplefilter("ignore", UnruledWarning)
        for _ in range(2):
            with torch.set_grad_enabled(recorded):
                assert torch.equal(model(x), plain)
                assert torch.equal(model(x.clone().requires_grad_()), plain)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("way", [by_grad, by_backward, by_func, by_vmap])
def test_under_autograd_rules_a_model_may_differentiate_inside(way, recorded):
    model, x = Force(way), noise(2, 4, 6)
    right = torch.autograd.grad(model(x)[:, 1].sum(), model.head.weight)
    with torch.set_grad_enabled(recorded), instrument(model, "gradient", strict=True):
        output = model(x)
    found = torch.autograd.grad(output[:, 1].sum(), model.head.weight)
    assert torch.equal(found[0], right[0])


@pytest.mark.parametrize("way", [by_grad, by_backward, by_func, by_vmap])
def test_a_model_that_differentiates_inside_is_told(way):
    model, x = Force(way), noise(2, 4, 6)
    plain = model(x).detach()
    match = "torch.func" if way in {by_func, by_vmap} else "gradient taken inside"
    with instrument(model) as lrp, pytest.warns(UnruledWarning, match=match):
        assert torch.equal(lrp.attribute(x, target=1).output, plain[:, 1])
    for _ in range(2):
        with pytest.raises(UnruledError, match=match):
            explain(Force(way))


def test_the_gradient_of_another_model_in_a_hook_is_its_own():
    model, other = Net(gated), Net(attended)
    right, expected = explain(Net(gated)), explain(Net(attended))
    with instrument(model, strict=True) as lrp, instrument(other) as inner:
        found = []
        handle = model.before.register_forward_hook(
            lambda *_: found.append(inner.attribute(noise(2, 4, 6), target=1))
        )
        assert_same(lrp.attribute(noise(2, 4, 6), target=1), right)
        handle.remove()
    assert_same(found[0], expected)


X = noise(2, 4, 6)


def summed(model):
    return lambda x: model(x)[:, 1].sum()


def batched(model):
    x = X.clone().requires_grad_()
    seeds = torch.eye(3, dtype=x.dtype)[:, None].expand(3, 2, 3)
    return torch.autograd.grad(model(x), x, seeds, is_grads_batched=True)


def dual(model):
    with torch.autograd.forward_ad.dual_level():
        return model(torch.autograd.forward_ad.make_dual(X, X))


@pytest.mark.parametrize(
    "differentiate",
    [
        lambda model: torch.func.grad(summed(model))(X),
        lambda model: torch.func.jacrev(model)(X),
        lambda model: torch.func.jacfwd(model)(X),
        lambda model: torch.func.jvp(model, (X,), (X,)),
        lambda model: torch.func.vmap(torch.func.grad(summed(model)))(X[:, None]),
        lambda model: torch.autograd.functional.jacobian(model, X, vectorize=True),
        batched,
        dual,
    ],
)
def test_other_ways_to_differentiate_are_refused_by_name(differentiate):
    with instrument(Net(gated)) as lrp:
        with pytest.raises(UnsupportedModelError, match="instrumented model"):
            differentiate(lrp.model)
        lrp.attribute(X, target=1)


def test_vmap_without_gradients_is_a_plain_forward():
    model = Net(gated)
    plain = model(X).detach()
    with instrument(model), torch.no_grad():
        assert_close(torch.vmap(model)(X[:, None])[:, 0], plain)
