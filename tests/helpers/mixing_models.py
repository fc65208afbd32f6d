"""Models that mix tokens without a softmax, and the linear maps that they are."""

import torch
import transformers
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from strategies import VOCABULARY, reseed

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ATTENTION = {
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
}
MAMBA = {"state_size": 4, "conv_kernel": 3}
MAMBA2 = {"mamba_d_state": 4, "mamba_d_conv": 3, "mamba_expand": 2}
DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "linear_conv_kernel_dim": 3,
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 8,
}
FAMILIES = {
    "Mamba": {**MAMBA, "time_step_rank": 4},
    "FalconMamba": {**MAMBA, "time_step_rank": 4},
    "Mamba2": {**MAMBA, "num_heads": 4, "head_dim": 8, "n_groups": 2, "chunk_size": 4},
    "Jamba": {
        **ATTENTION,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 2,
        "mamba_d_state": 4,
        "mamba_d_conv": 3,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "Bamba": {
        **ATTENTION,
        **MAMBA2,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 4,
        "attn_layer_indices": [1],
    },
    "Zamba2": {
        **ATTENTION,
        **MAMBA2,
        "num_key_value_heads": 2,
        "mamba_ngroups": 1,
        "n_mamba_heads": 4,
        "chunk_size": 4,
        "num_mem_blocks": 1,
        "layers_block_type": ["mamba", "hybrid"],
        "attention_head_dim": 16,
    },
    "Rwkv": {"attention_hidden_size": 16, "intermediate_size": 24},
    "RecurrentGemma": {
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "lru_width": 16,
        "attention_window_size": 8,
        "head_dim": 8,
    },
    "xLSTM": {
        "hidden_size": 64,
        "num_heads": 2,
        "chunk_size": 8,
        "ffn_round_up_to_multiple_of": 8,
    },
    "Qwen3Next": {
        **ATTENTION,
        **DELTA,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8,
    },
    "OlmoHybrid": {
        **ATTENTION,
        "num_key_value_heads": 2,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "Lfm2": {
        **ATTENTION,
        "conv_L_cache": 3,
        "layer_types": ["conv", "full_attention"],
        "block_multiple_of": 4,
    },
}
KINDS = {
    "Jamba": ["implicit", "softmax"],
    "Bamba": ["implicit", "softmax"],
    "Zamba2": ["implicit", "softmax", "implicit"],
    "RecurrentGemma": ["implicit", "implicit", "softmax"],
    "Qwen3Next": ["implicit", "softmax"],
    "OlmoHybrid": ["implicit", "softmax"],
    "Lfm2": ["implicit", "softmax"],
}
"""What each layer is; all others have two layers without a softmax."""


def mixing_model(family, dtype=torch.float64, biases=False):
    """Return a tiny model, without biases inside its mixing unless asked for."""
    reseed(0)
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **FAMILIES[family]})
    config._experts_implementation = "eager"  # the others take no float64
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    for name, parameter in model.named_parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
        if "conv" in name and name.endswith("bias") and not biases:
            parameter.data.zero_()
    return model.to(dtype).eval()


def mixing_batch(length=7, examples=2):
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, VOCABULARY, (examples, length), generator=generator)
    # RWKV overwrites its cache, which torch cannot differentiate.
    return {"input_ids": ids, "use_cache": False}


class Doubles(TorchFunctionMode):
    """Layers that work in single precision inside work in double precision."""

    def __torch_function__(  # noqa: PLW3201
        self, func, types, args=(), kwargs=None
    ):
        func = torch.Tensor.double if func is torch.Tensor.float else func
        args = [self._wide(value) for value in args]
        return func(*args, **{k: self._wide(v) for k, v in (kwargs or {}).items()})

    @staticmethod
    def _wide(value):
        return torch.float64 if value is torch.float32 else value


GATES = {F.softplus, torch.exp, torch.sigmoid, torch.Tensor.sigmoid, torch.rsqrt}
GATES |= {torch.Tensor.exp, F.sigmoid}
SLOPES = {F.silu, F.gelu, torch.tanh, torch.nn.functional.gelu}


class Frozen(TorchFunctionMode):
    """Records gates in a first run, and replays them: then the model is linear."""

    def __init__(self):
        super().__init__()
        self.kept, self.replays = [], None

    def again(self):
        self.replays = iter(self.kept)
        return self

    def __torch_function__(  # noqa: PLW3201
        self, func, types, args=(), kwargs=None
    ):
        if func not in GATES | SLOPES:
            return func(*args, **(kwargs or {}))
        if self.replays is not None:
            kept = next(self.replays)
            return kept if func in GATES else args[0] * kept
        out = func(*args, **(kwargs or {}))
        self.kept.append((out if func in GATES else out / args[0]).detach())
        return out


class Layer(nn.Module):
    """Values mixed by a linear recurrence, head by head, between linear layers."""

    def __init__(self, mix, width, heads):
        super().__init__()
        self.mix, self.heads = mix, heads
        for name in ("query", "key", "value", "decay", "out"):
            setattr(self, name, nn.Linear(width, width))

    def parts(self, x):
        names = ("query", "key", "value", "decay")
        each = [getattr(self, name)(x) for name in names]
        return [y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in each]

    def forward(self, x):
        mixed = self.mix(*self.parts(x))
        return self.out(mixed.transpose(1, 2).flatten(2))


class Mixes(nn.Module):
    """A stack of such layers, with a norm and residuals."""

    def __init__(self, mix, width=8, heads=2, layers=2):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList([Layer(mix, width, heads) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(layers)])
        self.head = nn.Linear(width, 3)

    def get_input_embeddings(self):
        return self.words

    def forward(self, input_ids):
        x = self.words(input_ids)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.add(x, layer(norm(x)))
        return self.head(x[:, -1])


def linear(q, k, v, a):
    """Linear attention: y_t = sum_{s <= t} (f(q_t) f(k_s)) v_s."""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    state, outputs = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
    for t in range(q.shape[2]):
        state = torch.add(state, k[:, :, t, :, None] * v[:, :, t, None])
        outputs.append((q[:, :, t, :, None] * state).sum(-2))
    return torch.stack(outputs, 2)


def gated(q, k, v, a):
    """Gated linear attention: the state decays by a gate of each key's channel."""
    a = torch.sigmoid(a)
    state, outputs = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
    for t in range(q.shape[2]):
        state = a[:, :, t, :, None] * state + k[:, :, t, :, None] * v[:, :, t, None]
        outputs.append((q[:, :, t, :, None] * state).sum(-2))
    return torch.stack(outputs, 2)


def delta(q, k, v, a):
    """The delta rule: what a key held is taken out before it holds something new."""
    k, beta = F.normalize(k, dim=-1), torch.sigmoid(a.mean(-1, keepdim=True))
    state, outputs = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
    for t in range(q.shape[2]):
        key = k[:, :, t, :, None]
        held = (key * state).sum(-2, keepdim=True)
        new = v[:, :, t, None] - held
        state = torch.add(state, beta[:, :, t, :, None] * key * new)
        outputs.append((q[:, :, t, :, None] * state).sum(-2))
    return torch.stack(outputs, 2)


def linear_map(q, k, a):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return (q @ k.mT).tril()


def gated_map(q, k, a):
    """M[t, s] = sum_n q[t, n] k[s, n] prod_{s < r <= t} a[r, n], by cumulative logs."""
    logs = torch.log(torch.sigmoid(a)).cumsum(2)
    decay = (logs[:, :, :, None] - logs[:, :, None]).exp()
    return (q[:, :, :, None] * k[:, :, None] * decay).sum(-1).tril()


def delta_map(q, k, a):
    """The inverse of I + tril(beta k k', -1), by a solver."""
    k, beta = F.normalize(k, dim=-1), torch.sigmoid(a.mean(-1, keepdim=True))
    lower = (beta * (k @ k.mT)).tril(-1)
    one = torch.eye(lower.shape[-1], dtype=lower.dtype)
    brought = torch.linalg.solve(one + lower, one * beta)
    return (q @ k.mT).tril() @ brought


RECURRENCES = {
    "linear": (linear, linear_map),
    "gated": (gated, gated_map),
    "delta": (delta, delta_map),
}
