"""Recurrent layers against cells written out, gates frozen and candidates unchanged."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lrp_hooks import UnruledError, UnruledWarning, instrument
from oracles import Calls, check, closes, exact, passed, random, randomised

KINDS = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "RNN": nn.RNN,
    "RNN, relu": lambda *a, **o: nn.RNN(*a, nonlinearity="relu", **o),
}
FORMS = {
    "plain": {},
    "without biases": {"bias": False},
    "batch first": {"batch_first": True},
    "both directions": {"bidirectional": True},
    "two layers": {"num_layers": 2},
    "all": {"num_layers": 2, "bidirectional": True, "batch_first": True},
}
SEQUENCE = (4, 2, 3)


def made(kind: str, **options) -> nn.RNNBase:
    return randomised(KINDS[kind](3, 5, **options).double(), seed=4)


def through(function, x):
    """Pass relevance unchanged."""
    return x * (function(x) / x).detach()


def gate(x):
    return x.sigmoid().detach()


def step(kind, a, b, h, c):
    """One step; a and b are affine in the input and in the state."""
    if kind == "LSTM":
        i, f, g, o = (a + b).chunk(4, -1)
        c = gate(f) * c + gate(i) * through(torch.tanh, g)
        return gate(o) * through(torch.tanh, c), c
    if kind == "GRU":
        (ar, az, an), (br, bz, bn) = a.chunk(3, -1), b.chunk(3, -1)
        z = gate(az + bz)
        candidate = through(torch.tanh, an + gate(ar + br) * bn)
        return (1 - z) * candidate + z * h, c
    return through(torch.relu if "relu" in kind else torch.tanh, a + b), c


def unrolled(kind, rnn, x, h0=None):
    """Return outputs and final hidden states, time first."""
    finals = []
    for layer in range(rnn.num_layers):
        sides = []
        for side in range(2 if rnn.bidirectional else 1):
            end = f"_l{layer}{'_reverse' if side else ''}"
            w, u = getattr(rnn, f"weight_ih{end}"), getattr(rnn, f"weight_hh{end}")
            p, q = (
                getattr(rnn, f"bias_{n}{end}") if rnn.bias else 0 for n in ("ih", "hh")
            )
            h = x.new_zeros(x.shape[1], 5) if h0 is None else h0[len(finals)]
            c, outputs = x.new_zeros(x.shape[1], 5), []
            for now in reversed(x) if side else x:
                h, c = step(kind, now @ w.T + p, h @ u.T + q, h, c)
                outputs.append(h)
            finals.append(h)
            sides.append(torch.stack(outputs[::-1] if side else outputs))
        x = torch.cat(sides, -1)
    return x, torch.stack(finals)


def call(m, x, *states):
    out, final = m.rnn(x, *states)
    final = final[0] if isinstance(final, tuple) else final
    return torch.cat([out.flatten(), final.flatten()])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_final_states(kind, form):
    rnn = made(kind, **FORMS[form])

    def replica(x):
        out, final = unrolled(kind, rnn, x.transpose(0, 1) if rnn.batch_first else x)
        out = out.transpose(0, 1) if rnn.batch_first else out
        return torch.cat([out.flatten(), final.flatten()])

    check(Calls(call, rnn=rnn), replica, random(*SEQUENCE))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_without_a_batch(kind, batch_first):
    rnn = made(kind, batch_first=batch_first)

    def replica(x):
        out, final = unrolled(kind, rnn, x.unsqueeze(1))
        return torch.cat([out.flatten(), final.flatten()])

    check(Calls(call, rnn=rnn), replica, random(4, 3))


@pytest.mark.parametrize("kind", ["GRU", "RNN", "RNN, relu"])
def test_a_first_state_that_carries_relevance(kind):
    rnn = made(kind)

    def replica(x, h0):
        out, final = unrolled(kind, rnn, x, h0)
        return torch.cat([out.flatten(), final.flatten()])

    check(Calls(call, rnn=rnn), replica, random(*SEQUENCE), random(1, 2, 5, seed=3))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_ledger_closes(kind, form):
    rnn = made(kind, **FORMS[form])

    def every(m, x):
        out = m.rnn(x if rnn.batch_first else x.transpose(0, 1))[0]
        return out if rnn.batch_first else out.transpose(0, 1)

    found = closes(Calls(every, rnn=rnn), random(2, 4, 3))
    names = {name for name in found.ledger.sources if "bias" in name}
    assert names == {f"rnn.{n}" for n, _ in rnn.named_parameters() if "bias" in n}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_constant_first_state_is_a_source(kind):
    state = random(1, 2, 5, seed=3)

    def given(m, x):
        first = (m.first, m.first) if kind == "LSTM" else m.first
        return m.rnn(x.transpose(0, 1), first)[0].transpose(0, 1)

    found = closes(Calls(given, rnn=made(kind), first=state), random(2, 4, 3))
    # LSTM and GRU add the state itself; a plain cell only sends it through a matrix.
    assert "rnn.state" in found.ledger.sources


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_what_is_not_unrolled_is_named(kind):
    rnn, x = made(kind), random(2, 4, 3)

    def packed(m, x):
        given = pack_padded_sequence(x, torch.tensor([4, 2]), batch_first=True)
        return pad_packed_sequence(m.rnn(given)[0], batch_first=True)[0]

    with instrument(Calls(packed, rnn=rnn)) as lrp, pytest.warns(UnruledWarning):
        lrp.attribute(x, target=lambda y: y.flatten(1).sum(1))
    assert (kind.lower(), "rnn") in {
        (name.rpartition(".")[2], module) for name, module in lrp.coverage.unruled
    }
    model = Calls(lambda m, x: m.rnn(x)[0], rnn=made(kind, num_layers=2, dropout=0.5))
    with instrument(model.train(), strict=True):
        with pytest.raises(UnruledError, match=f"{kind.lower()}, called by rnn"):
            model(x.requires_grad_())


CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_cells_have_the_rule_of_the_layer(kind, bias):
    layer = randomised(KINDS[kind](3, 5, bias=bias).double(), seed=4)
    cell = CELLS[kind](3, 5, bias=bias).double()
    own = dict(layer.named_parameters())
    cell.load_state_dict({n: own[f"{n}_l0"] for n, _ in cell.named_parameters()})

    def stepped(m, x):
        state = x.new_zeros(x.shape[1], 5)
        state = (state, state) if kind == "LSTM" else state
        outputs = []
        for t in x:
            state = m.cell(t, state)
            outputs.append(state[0] if kind == "LSTM" else state)
        return torch.stack(outputs)

    x = random(*SEQUENCE)
    right = passed(Calls(lambda m, x: m.layer(x)[0], layer=layer), x)
    exact(passed(Calls(stepped, cell=cell), x)[0], right[0])
    closes(
        Calls(lambda m, x: stepped(m, x.transpose(0, 1))[-1], cell=cell),
        x.transpose(0, 1).contiguous(),
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_outputs_are_bit_identical_where_nothing_carries_relevance(kind, packed, bias):
    for dtype in (torch.float32, torch.float64):
        layer = kind(4, 4, batch_first=True, bias=bias).to(dtype)
        x = torch.randn(5, 3, 4, dtype=dtype)
        given = nn.utils.rnn.pack_padded_sequence(x, [3] * 5, True) if packed else x
        plain = layer(given)[0]
        with instrument(layer):
            found = layer(given)[0]
        values = (found.data, plain.data) if packed else (found, plain)
        assert torch.equal(*values)
