"""Edges are Jacobians of an explicitly detached replica, which shares no code."""

import pytest
import torch
from torch import nn
from torch.func import jacrev

from lrp_hooks import find_circuit

T, D, F = 3, 4, 5


class Block(nn.Module):
    """Frozen-free on purpose: plain attention over positions, and a gated network."""

    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(D)
        self.q, self.k, self.v, self.o = (nn.Linear(D, D) for _ in range(4))
        self.gate, self.up, self.down = (
            nn.Linear(D, F),
            nn.Linear(D, F),
            nn.Linear(F, D),
        )

    def forward(self, x):
        h = self.norm(x)
        p = (self.q(h) @ self.k(h).transpose(1, 2)).softmax(-1)
        middle = x + self.o(p @ self.v(h))
        h = self.norm(middle)
        return middle + self.down(nn.functional.silu(self.gate(h)) * self.up(h))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(D, 2)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, -1])


class Replica:
    """The twin by hand: gates are the numbers of a first run."""

    def __init__(self, net, x):
        self.net, self.gates, self.neurons = net, [], []
        with torch.no_grad():
            for block in net.blocks:
                x = self.record(block, x)

    def record(self, block, x):
        def scale(v):
            return block.norm(v) / v

        s = scale(x)
        h = x * s
        p = (block.q(h) @ block.k(h).transpose(1, 2)).softmax(-1)
        middle = x + block.o(p @ block.v(h))
        t = scale(middle)
        g, u = block.gate(middle * t), block.up(middle * t)
        slope = torch.sigmoid(g)
        self.gates.append((s, p, t, slope, g * slope, u))
        self.neurons.append(g * slope * u)
        return middle + block.down(g * slope * u)

    def arriving(self, number, x, neurons):
        """What arrives at the neurons of a block, given x and the neurons below."""
        return self.run(x, neurons, number)[0]

    def run(self, x, neurons, upto):
        arrives = None
        for i, block in enumerate(self.net.blocks[: upto + 1]):
            s, p, t, slope, active, u = self.gates[i]
            middle = x + block.o(p @ block.v(x * s))
            h = middle * t
            half = 0.5 * (block.gate(h) * slope) * u + 0.5 * active * block.up(h)
            arrives = half
            if i < upto:
                x = middle + block.down(neurons[i])
        return arrives, x

    def output(self, x, neurons):
        for i, block in enumerate(self.net.blocks):
            s, p = self.gates[i][:2]
            middle = x + block.o(p @ block.v(x * s))
            x = middle + block.down(neurons[i])
        return self.net.head(x[:, -1])[0, 0]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_edges_are_the_replicas_jacobians(share):
    torch.manual_seed(1)
    net = Net().double().eval()
    x = torch.randn(1, T, D).double()
    replica = Replica(net, x)
    a = [n.detach() for n in replica.neurons]
    net.requires_grad_(False)
    assert torch.allclose(replica.output(x, a), net(x)[0, 0])
    circuit = find_circuit(net, x, 0, share=share)
    assert len(circuit.kept) == (2 * T * F if share == 1 else len(circuit.kept))
    into = jacrev(replica.output, argnums=(0, 1))(x, a)
    j_x = [jacrev(lambda v, i=i: replica.arriving(i, v, a))(x) for i in range(2)]
    j_n = jacrev(lambda n: replica.arriving(1, x, [n, a[1]]))(a[0])
    # Coefficients by the chain rule, from the top.
    c = [None, into[1][1]]
    c[0] = into[1][0] + torch.einsum("btf,btfcsg->csg", c[1], j_n)
    for edge in circuit.edges:
        source, goal = circuit.node(edge.source), circuit.node(edge.target)
        if source.kind not in {"token", "neuron"} or goal.kind == "rest":
            continue
        s = source.position
        if goal.kind == "output":
            if source.kind == "token":
                wanted = (x * into[0])[0, s].sum()
            else:
                wanted = (a[source.layer] * into[1][source.layer])[0, s, source.index]
        else:
            at = 0, goal.position, goal.index
            weight = c[goal.layer][at]
            if source.kind == "token":
                wanted = weight * (j_x[goal.layer][at][0, s] * x[0, s]).sum()
            else:
                wanted = weight * j_n[at][0, s, source.index]
                wanted *= a[0][0, s, source.index]
        assert edge.flow == pytest.approx(float(wanted), abs=1e-12)
    known = {(e.source, e.target) for e in circuit.edges}
    assert ("neuron:0:0:0", "neuron:1:2:0") in known or share < 1
