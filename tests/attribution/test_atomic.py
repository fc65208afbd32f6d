"""All or nothing: whatever interrupts, the model is plain or whole."""

import sys
import threading
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack

import lrp_hooks
from lrp_hooks import ArgumentError, ScopeRule, instrument, register
from lrp_hooks.attribution.claims import _claimed
from lrp_hooks.engine.stack import active_scope
from small_models import state
from strategies import noise

OURS = tuple(str(Path(m.__file__).parent) for m in (lrp_hooks, lrp_hooks.rules))
X = noise(2, 4)


def net():
    torch.default_generator.manual_seed(0)
    layers = [nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2)]
    return nn.Sequential(*layers).double()


def pulled(model):
    """Return the output and its gradient."""
    leaf = X.clone().requires_grad_()
    output = model(leaf)
    return output.detach(), torch.autograd.grad(output.sum(), leaf)[0]


PLAIN = pulled(net())


def traced(act, at=0):
    """Call a function, interrupted at one of our lines; return which lines ran."""
    lines = []

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            lines.append((frame.f_code.co_filename, frame.f_lineno))
            if len(lines) == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(KeyboardInterrupt) if at else nullcontext():
            act()
    finally:
        sys.settrace(before)
    return lines


def moments(act, *files):
    """Return when each line runs for the first time, and when for the last."""
    lines = [
        (n, line)
        for n, line in enumerate(traced(act), 1)
        if not files or Path(line[0]).name in files
    ]
    first = {line: n for n, line in reversed(lines)}
    last = {line: n for n, line in lines}
    return sorted({*first.values(), *last.values()})


def assert_nothing_is_open(model):
    assert not _get_current_function_mode_stack()
    assert active_scope() is None
    assert all(module.training for module in model.modules())


def assert_plain(model, before):
    assert_nothing_is_open(model)
    assert state(model) == before
    assert not any(module in _claimed for module in model.modules())
    assert all(map(torch.equal, pulled(model), PLAIN))


CALLS = {
    "attribute": lambda lrp: lrp.attribute(X, 1, layers="1"),
    "audit": lambda lrp: lrp.audit(X, lambda out: out.prod(1)),
    "forward": lambda lrp: lrp.model(X.clone().requires_grad_()),
}


@pytest.mark.filterwarnings("ignore::lrp_hooks.errors.UnruledWarning")
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_interrupted_at_any_line(call):
    act, model, grad = CALLS[call], net(), call == "forward"
    with instrument(model) as lrp:
        act(lrp)  # what is looked up once is there
        files = ("audit.py", "scope.py") if call == "audit" else ()
        numbers = moments(lambda: act(lrp), *files)
    assert len(numbers) > 50
    before = state(model)
    for number in numbers:
        lrp = instrument(model)
        whole = state(model)
        with torch.set_grad_enabled(grad):
            traced(lambda lrp=lrp: act(lrp), number)
            assert torch.is_grad_enabled() is grad
        assert_nothing_is_open(model)
        assert state(model) == whole
        if number % 5 == 0:
            found = elsewhere(lambda lrp=lrp: lrp.attribute(X, 1))
            assert found.ledger.error.max() < 1e-10
        lrp.remove()
        assert_plain(model, before)


def elsewhere(act):
    """Call a function in another thread, which gets its turn."""
    found = []
    thread = threading.Thread(target=lambda: found.append(act()), daemon=True)
    thread.start()
    thread.join(20)
    return found[0]


def test_instrument_that_is_interrupted_at_any_line():
    instrument(net()).remove()
    numbers = moments(lambda: instrument(net()))
    assert len(numbers) > 100
    model = net()
    before = state(model)
    for number in numbers:
        traced(lambda: instrument(model), number)
        assert_plain(model, before)
        instrument(model).remove()
        assert_plain(model, before)


def test_a_removal_that_is_interrupted_is_whole_or_done_or_can_go_on():
    model = net()
    before = state(model)
    with instrument(model) as lrp:
        numbers = moments(lrp.remove)
    for number in numbers:
        lrp = instrument(model)
        traced(lrp.remove, number)
        if lrp.model is None:
            assert_plain(model, before)
        else:
            assert lrp.attribute(X, 1).ledger.error.max() < 1e-10
        lrp.remove()
        lrp.remove()
        assert_plain(model, before)


class Theirs(nn.Module):
    def forward(self, x):
        return x * 2


class Broken(ScopeRule):
    """A rule with a mistake in one of its methods."""

    def __init__(self, method):
        self.method = method

    def functions(self, module):
        if self.method == "functions":
            raise RuntimeError("theirs")
        return {}

    def at(self, module):
        if self.method == "at":
            raise RuntimeError("theirs")
        return self

    def __repr__(self):
        if self.method == "repr":
            raise RuntimeError("theirs")
        return "Broken()"


@pytest.mark.parametrize("method", ["functions", "at", "repr"])
@pytest.mark.parametrize("how", ["registered", "overrides"])
def test_a_broken_rule_leaves_the_model_plain(method, how):
    model = net().append(Theirs())
    plain, before = pulled(model), state(model)
    given = {}
    if how == "registered":
        register(Theirs)(Broken(method))
    else:
        given["overrides"] = {"4": Broken(method)}
    with pytest.raises(RuntimeError, match="theirs"):
        instrument(model, **given)
    assert state(model) == before
    assert all(map(torch.equal, pulled(model), plain))
    register(Theirs, overwrite=True)(ScopeRule)
    instrument(model).remove()


def test_a_part_that_is_instrumented_stays_so():
    model = net()
    with instrument(model[0]) as part:
        with suppress(ArgumentError):
            instrument(model)
        assert part.attribute(X, 1).ledger.error.max() < 1e-10
        assert model[0] in _claimed


class Waits(nn.Module):
    """Runs until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def forward(self, x):
        self.begun.set()
        assert self.go_on.wait(20)
        return x * 2


def test_removal_waits_for_an_explanation_in_another_thread():
    waits, found = Waits(), []
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), waits, nn.Linear(4, 2)).double()
    waits.go_on.set()
    with instrument(model) as lrp:
        right = lrp.attribute(X, 1).values
    waits.begun.clear()
    waits.go_on.clear()
    lrp = instrument(model)
    explains = threading.Thread(target=lambda: found.append(lrp.attribute(X, 1)))
    explains.start()
    assert waits.begun.wait(20)
    removes = threading.Thread(target=lrp.remove)
    removes.start()
    removes.join(0.3)
    assert removes.is_alive() and lrp.model is model
    waits.go_on.set()
    explains.join(20)
    removes.join(20)
    assert torch.equal(found[0].values, right)
    assert lrp.model is None
    with pytest.raises(ArgumentError, match="after remove"):
        lrp.attribute(X, 1)
