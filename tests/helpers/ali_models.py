"""The attention-only model that Ali et al. 2022 published values of, and the values.

The arrays are described in ``data/ali/README.md``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from folders import arrays
from shared_models import shared


def no_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v * 0 if k.endswith("bias") else v for k, v in state.items()}


class Norm(nn.Module):
    """The authors' normalisation: unbiased deviation, epsilon outside the root."""

    def forward(self, x):
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-12)


class Output(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(32, 32)
        self.LayerNorm = nn.LayerNorm(32)  # stored, not used
        self.norm = Norm()


class Block(nn.Module):
    """One attention-only block, without 1/sqrt(d)."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.output = Output()

    def forward(self, x):
        def heads(dense):
            return dense(x).view(*x.shape[:2], 4, 8).transpose(1, 2)

        p = torch.softmax(heads(self.query) @ heads(self.key).mT, dim=-1)
        mixed = (p @ heads(self.value)).transpose(1, 2).flatten(2)
        return self.output.norm(self.output.dense(mixed) + x)


class Embeds(nn.Module):
    def __init__(self):
        super().__init__()
        self.word_embeddings = nn.Embedding(60, 32)
        self.position_embeddings = nn.Embedding(32, 32)
        self.token_type_embeddings = nn.Embedding(2, 32)
        self.LayerNorm = nn.LayerNorm(32, eps=1e-12)

    def forward(self, ids):
        places = torch.arange(ids.shape[1]).expand_as(ids)
        x = self.word_embeddings(ids) + self.position_embeddings(places)
        return self.LayerNorm(x + self.token_type_embeddings(ids * 0))


class Pooler(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(32, 32)

    def forward(self, x):
        return torch.tanh(self.dense(x[:, 0]))


class Authors(nn.Module):
    """The authors' three blocks, as ``data/ali/README.md`` describes them."""

    def __init__(self):
        super().__init__()
        self.embeds = Embeds()
        self.attention_layers = nn.ModuleList(Block() for _ in range(3))
        self.output = Output()  # stored, not used
        self.pooler = Pooler()
        self.classifier = nn.Linear(32, 3)

    def forward(self, ids):
        x = self.embeds(ids)
        for block in self.attention_layers:
            x = block(x)
        return self.classifier(self.pooler(x))


@shared
def authors(tag: str) -> nn.Module:
    state = arrays("ali/weights")
    if tag == "f64_nobias":
        embeds = {k: v for k, v in state.items() if k.startswith("embeds.")}
        state = {**no_biases(state), **embeds}
    model = Authors()
    model.load_state_dict(state)
    return (model if tag == "f32" else model.double()).eval()
