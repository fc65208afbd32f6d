"""Gradients of selections are equal, however they are summed."""

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lrp_hooks.engine import gathering as module
from lrp_hooks.engine.foreign import nodes
from lrp_hooks.engine.gathering import gathering
from strategies import noise, seeds

LENGTH = 12


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: PLW3201
        self.calls += func.overloadpacket is torch.ops.aten.select_backward
        return func(*args, **(kwargs or {}))


class Stopped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return None


def scan(x, order, dim=1):
    state = torch.zeros_like(x.select(dim, 0))
    for step in order:
        state = state * 0.5 + x.select(dim, step).sin()
    return state.sum()


def beside(x):
    return scan(x, range(LENGTH)) + (x * x).sum()


def cut_first(x):
    first = Stopped.apply(x[:, 0]).sum()
    return first + scan(x, range(1, LENGTH))


def cut_last(x):
    return scan(x, range(LENGTH - 1)) + Stopped.apply(x[:, LENGTH - 1]).sum()


def written(x):
    total = torch.zeros(())
    for step in range(LENGTH):
        part = x[:, step]
        if step % 3 == 0:
            part.mul_(2.0)  # writes to the whole as well
        total += part.sum() * (step + 1.0)
    return total + x.pow(2).sum()


PROGRAMS = {
    "in order": lambda x: scan(x, range(LENGTH)),
    "from the end": lambda x: scan(x, range(-1, -LENGTH - 1, -1)),
    "twice": lambda x: scan(x, [*range(LENGTH), *range(5)]),
    "some": lambda x: scan(x, range(1, LENGTH - 1)),
    "along the last": lambda x: scan(x.mT, range(LENGTH), dim=-1),
    "beside other uses": beside,
    "the first cut": cut_first,
    "the last cut": cut_last,
    "overwritten": written,
}


def made(seed=0):
    leaf = noise(2, LENGTH, 3, seed=seed, dtype=torch.float64).requires_grad_()
    return leaf, leaf * leaf


@pytest.mark.parametrize("name", PROGRAMS)
@given(seeds)
def test_the_gradient_is_autograds_own(name, seed):
    leaf, x = made(seed)
    out = PROGRAMS[name](x)
    (expected,) = torch.autograd.grad(out, leaf, retain_graph=True)
    with gathering([out]):
        found = [torch.autograd.grad(out, leaf, retain_graph=True)[0] for _ in "ab"]
    (after,) = torch.autograd.grad(out, leaf)
    assert all(torch.equal(each, expected) for each in (*found, after))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_recorded_pass_can_be_differentiated(name):
    def twice(context):
        leaf, x = made()
        out = PROGRAMS[name](x)
        with context([out]):
            (grad,) = torch.autograd.grad(out, leaf, create_graph=True)
        return torch.autograd.grad(grad.pow(3).sum(), leaf)[0]

    plain = twice(lambda _: torch.enable_grad())
    torch.testing.assert_close(twice(gathering), plain, rtol=1e-12, atol=1e-14)


@given(seeds, st.integers(1, 4))
def test_many_tangents_go_through_at_once(seed, count):
    leaf, x = made(seed)
    out = x + torch.stack([x[:, step].sin() for step in range(LENGTH)], 1)
    tangents = noise(count, *out.shape, seed=seed + 1, dtype=torch.float64)

    def pulled():
        (found,) = torch.autograd.grad(
            out, leaf, tangents, retain_graph=True, is_grads_batched=True
        )
        return found

    expected = pulled()
    with gathering([out]):
        found = pulled()
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("name", "left"), [("in order", 1), ("beside other uses", 1)])
def test_one_tensor_of_zeros_is_filled(name, left):
    leaf, x = made()
    out = PROGRAMS[name](x)
    with Counting() as plain:
        torch.autograd.grad(out, leaf, retain_graph=True)
    with gathering([out]), Counting() as gathered:
        torch.autograd.grad(out, leaf)
    assert (plain.calls, gathered.calls) == (LENGTH, left)


def test_hooks_on_the_tensor_see_the_whole_gradient():
    leaf, x = made()
    seen = []
    x.register_hook(seen.append)
    out = scan(x, range(LENGTH))
    (expected,) = torch.autograd.grad(out, x, retain_graph=True)
    with gathering([out]):
        torch.autograd.grad(out, leaf, retain_graph=True)
        (read,) = torch.autograd.grad(out, x)
    assert torch.equal(seen[1], expected)
    assert torch.equal(read, expected)


def test_a_cut_that_would_lose_gradients_is_an_error():
    leaf, x = made()
    early = Stopped.apply(x[:, 0]).sum()  # made first, so it runs last
    out = early + scan(x, range(1, LENGTH)) + x.sum()
    with gathering([out]), pytest.raises(RuntimeError, match="please report"):
        torch.autograd.grad(out, leaf)


def test_nothing_stays_on_the_graph(monkeypatch):
    kept = []
    own = module._Selections

    def noted(*args):
        selections = own(*args)
        kept.append(weakref.ref(selections))
        return selections

    monkeypatch.setattr(module, "_Selections", noted)
    leaf, x = made()
    out = scan(x, range(LENGTH))
    with gathering([out]):
        torch.autograd.grad(out, leaf, retain_graph=True)
    gc.collect()
    assert kept and kept[0]() is None


def test_few_selections_are_no_loop():
    _, x = made()
    assert module.selects_much(nodes(scan(x, range(LENGTH))))
    assert not module.selects_much(nodes(scan(x, range(7))))


def test_a_torch_that_copies_gradients_is_left_alone(monkeypatch):
    assert module._hands_on()
    monkeypatch.setattr(module, "_hands_on", lambda: False)
    leaf, x = made()
    out = scan(x, range(LENGTH))
    with gathering([out]), Counting() as plain:
        torch.autograd.grad(out, leaf)
    assert plain.calls == LENGTH


def test_that_gradients_are_copied_is_found(monkeypatch):
    class Copied(module._Selections):
        def after(self, grads, _):
            super().after((grads[0] if grads[0] is None else grads[0].clone(),), _)

    monkeypatch.setattr(module, "_Selections", Copied)
    assert not module._hands_on.__wrapped__()
