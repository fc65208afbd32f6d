"""A small Transformer spread over two ranks: processes that talk over the loopback."""

import multiprocessing as standard
import os
import sys
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.testing import assert_close

from lrp_hooks import explain_generation, instrument
from lrp_hooks.errors import LrpHooksError

RANKS = 2
IMPORTED = """
    ranks lrp_hooks.rules torch._dynamo torch.onnx
    transformers.models.auto.modeling_auto transformers.models.llama.modeling_llama
    transformers.models.qwen2.modeling_qwen2 transformers.models.qwen3.modeling_qwen3
""".split()
LAYERS = (
    "blocks.0.act",
    "blocks.1.up",
    "blocks.0",
    "blocks.1.attention",
    "blocks.1.second",
    "heads",
    "blocks",
)


def on_ranks(folder, work, *given, count=RANKS):
    """Run a function of a mesh on every rank; return what each of them returned."""
    # Forks of a process that has imported all: that takes longer than any test.
    standard.set_forkserver_preload(IMPORTED)
    # A file to meet at, since a port may be taken; the loopback, since hosts vary.
    given = (count, str(folder), work, given)
    start = {"nprocs": count, "start_method": "forkserver"}
    path = os.pathsep.join(filter(None, sys.path))  # Python 3.11 hands none on
    with patch.dict(os.environ, PYTHONPATH=path):
        multiprocessing.start_processes(_rank, given, **start)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(count)]


def _rank(rank, count, folder, work, given):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=count)
    try:
        found = work(init_device_mesh("cpu", (count,)), *given)
        torch.save(found, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.size = width // heads

    def forward(self, x):
        def by_head(values):
            return values.view(*values.shape[:2], -1, self.size).transpose(1, 2)

        q, k, v = map(by_head, (self.query(x), self.key(x), self.value(x)))
        weights = (q @ k.transpose(-1, -2) / self.size**0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.act = nn.Linear(width, 3 * width), nn.GELU()
        self.down = nn.Linear(3 * width, width)

    def forward(self, x):
        y = x + self.attention(self.first(x))
        return y + self.down(self.act(self.up(self.second(y))))


class Last(nn.Module):
    def forward(self, x):
        return x[:, -1]


class Net(nn.Module):
    """Words and positions, two blocks, a head; biases everywhere."""

    def __init__(self, width=8, heads=2):
        super().__init__()
        self.words, self.places = nn.Embedding(12, width), nn.Embedding(6, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(2))
        self.norm, self.last, self.head = (
            nn.LayerNorm(width),
            Last(),
            nn.Linear(width, 4),
        )

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(self.norm(x)))


def net(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    model = Net()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.5, generator=generator)
    return model.to(dtype).eval()


def ids():
    return torch.tensor([[1, 2, 3, 4, 5, 6], [3, 0, 7, 11, 2, 2]])


def fully_sharded(model, mesh, again=True, every=False):
    for block in model.blocks:
        for part in [*block.modules()][::-1] if every else [block]:
            if next(part.parameters(recurse=False), None) is not None or part is block:
                fully_shard(part, mesh=mesh, reshard_after_forward=again)
    return fully_shard(model, mesh=mesh, reshard_after_forward=again)


def tensor_parallel(model, mesh, head=None):
    for block in model.blocks:
        parallelize_module(block, mesh, _projections())
    plan = {} if head is None else {"head": ColwiseParallel(output_layouts=head)}
    return parallelize_module(model, mesh, plan)


def sequence_parallel(model, mesh):
    gather = {"input_layouts": (Shard(1),), "desired_input_layouts": (Replicate(),)}
    rows = {"input_layouts": Replicate()}
    parallelize_module(
        model,
        mesh,
        {
            "words": RowwiseParallel(**rows, output_layouts=Shard(1)),
            "places": RowwiseParallel(**rows, output_layouts=Shard(0)),
            "norm": SequenceParallel(),
            "last": PrepareModuleInput(**gather, use_local_output=True),
            "head": ColwiseParallel(output_layouts=Replicate()),
        },
    )
    for block in model.blocks:
        parallelize_module(
            block,
            mesh,
            {
                "first": SequenceParallel(),
                "second": SequenceParallel(),
                "attention": PrepareModuleInput(**gather),
                **_projections(Shard(1)),
                "up": ColwiseParallel(input_layouts=Shard(1)),
            },
        )
    return model


def _projections(between=None):
    return {
        "attention.query": ColwiseParallel(),
        "attention.key": ColwiseParallel(),
        "attention.value": ColwiseParallel(),
        "attention.out": RowwiseParallel(output_layouts=between),
        "up": ColwiseParallel(),
        "down": RowwiseParallel(output_layouts=between),
    }


def both(model, mesh):
    """Tensor parallel and fully sharded, over two axes of one mesh."""
    grid = init_device_mesh("cpu", (1, RANKS), mesh_dim_names=("data", "model"))
    return fully_sharded(tensor_parallel(model, grid["model"]), grid["data"])


def copies(model, mesh):
    return nn.parallel.DistributedDataParallel(model)


SPREAD = {
    "fully sharded": fully_sharded,
    "fully sharded, kept": partial(fully_sharded, again=False),
    "every layer fully sharded": partial(fully_sharded, every=True),
    "tensor parallel": tensor_parallel,
    "a head of shares": partial(tensor_parallel, head=Shard(-1)),
    "sequence parallel": sequence_parallel,
    "both": both,
    "copies": copies,
}


def numbers(model, rules, wrt=None, layers=LAYERS, target=(1, 2)):
    """What is compared: an explanation, its ledger, the audit, and what was said."""
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with instrument(model, rules) as lrp:
            found = lrp.attribute(ids(), list(target), wrt=wrt, layers=layers)
            audit = lrp.audit(ids(), list(target))
    after = {name: set(vars(module)) for name, module in model.named_modules()}
    return {
        "scores": found.scores,
        "output": found.output,
        "error": found.ledger.error,
        "sources": found.ledger.sources,
        "positions": found.ledger.positions,
        "layers": found.layers,
        "audit": {
            r.module: torch.tensor([r.leaving, r.entering, r.bias, r.leak])
            for r in audit.rows
        },
        # Of modules that are sharded one by one torch itself says that without us.
        "said": [s for w in said if "FSDP2-wrapped" not in (s := str(w.message))],
        "removed": before == after,
    }


def assert_same(found, right, **close):
    kept = {k: v for k, v in found.items() if k not in {"error", "said", "removed"}}
    assert kept.keys() <= right.keys()
    for key, value in kept.items():
        assert_close(value, right[key], msg=lambda m, key=key: f"{key}: {m}", **close)
    assert found["removed"]


def explained(mesh, names, rules, dtype=torch.float64):
    """Explain the net in each way of spreading it."""
    found = {}
    for name in names:
        model = SPREAD[name](net(dtype), mesh)
        for rule_set in rules:
            found[name, rule_set] = numbers(model, rule_set)
        plain = model(ids())
        with instrument(model):
            found[name, "same"] = torch.equal(model(ids()), plain)
    return found


def explained_from(mesh, names, rules, read):
    """Explain the net from a module on, by rule sets of one's own."""
    found = {}
    for name in names:
        model = SPREAD[name](net(), mesh)
        for key, rule_set in rules.items():
            found[name, key] = numbers(model, rule_set, read, ("blocks.1.up",))
    return found


def refused(mesh):
    """What is said of models that cannot be explained."""
    wrapped = FullyShardedDataParallel(net(), device_id=torch.device("cpu"))
    with failing() as said:
        instrument(wrapped)
    return {"flat": said}


@contextmanager
def failing():
    said = []
    try:
        yield said
    except LrpHooksError as error:
        said.append(str(error))


def language_model(folder, dtype=torch.float32, **options):
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  # takes seconds

    load = AutoModelForCausalLM.from_pretrained
    return load(folder, dtype=dtype, **options).eval()


def read(model, tokenizer, prompt, rules, continuation=None):
    """An explanation of the next token, its audit, and one of what is written."""
    inputs = {"input_ids": torch.tensor([tokenizer(prompt)["input_ids"]])}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        with instrument(model, rules) as lrp:
            found, audit = lrp.attribute(inputs), lrp.audit(inputs)
        written = {"max_new_tokens": 3} if continuation is None else {}
        matrix = explain_generation(
            model, tokenizer, prompt, rules=rules, continuation=continuation, **written
        )
    return {
        "scores": found.scores,
        "output": found.output,
        "error": torch.cat([found.ledger.error, matrix.ledger.error]),
        "sources": found.ledger.sources,
        "audit": {
            r.module: torch.tensor([r.leaving, r.entering, r.bias, r.leak])
            for r in audit.rows
        },
        "matrix": matrix.scores,
        "target": matrix.target,
        "said": [str(warning.message) for warning in said],
        "removed": True,
    }


def language_models(mesh, folder, tokenizer, prompt, rules, ways, dtype):
    """Read a language model in each way of spreading it."""
    found = {}
    for way in ways:
        if way == "planned":
            model = language_model(folder, dtype, tp_plan="auto")
        elif way == "halves":
            plan = {
                "model.layers.*.mlp.gate_proj": ColwiseParallel(),
                "model.layers.*.mlp.up_proj": ColwiseParallel(),
                "model.layers.*.mlp.down_proj": RowwiseParallel(),
            }
            model = parallelize_module(language_model(folder, dtype), mesh, plan)
        else:
            model = language_model(folder, dtype)
            for block in model.model.layers:
                fully_shard(block, mesh=mesh)
            fully_shard(model, mesh=mesh)
        for rule_set in rules:
            found[way, rule_set] = read(model, tokenizer, prompt, rule_set)
    return found
