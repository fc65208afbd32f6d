"""Cost of answers: ``python -m benchmarks.answers.cost FOLDER CONTEXT ANSWER [NAMES]``.

CPU seconds, and peak memory over the loaded model, of one span of ANSWER tokens behind
CONTEXT others, beside one plain forward and backward pass for the same log-probability.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrp_hooks import explain_answer

from ..by_prompt import environment
from ..cost.memory import MALLOC, ROOT
from ..cost.timing import cpu_seconds, interleave

RESULTS = Path(__file__).with_name("cost.json")
ROUNDS = (2, 3)
PLAIN = "plain forward and backward"
LONG = 4096
"""Tokens from where on one round is enough: fixed costs no longer count."""
SECONDS = 600.0
Calls = dict[str, Callable[[], Any]]


def main() -> None:
    """Measure all methods, or those named; print, and add it to what is saved."""
    folder, *numbers = sys.argv[1:4]
    context, answer = map(int, numbers)
    torch.set_num_threads(1)
    methods = calls(folder, context, answer)
    if sys.argv[4:]:
        methods = {name: methods[name] for name in [PLAIN, *sys.argv[4:]]}
    clocks = {name: partial(cpu_seconds, call) for name, call in methods.items()}
    seconds = interleave(clocks, SECONDS, (1, 1) if context >= LONG else ROUNDS)
    found = {
        name: {"seconds": times, "bytes": peak(folder, context, answer, name)}
        for name, times in seconds.items()
    }
    saved = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    saved = [e for e in saved if (e["context"], e["answer"]) != (context, answer)]
    about = {"model": Path(folder).name, "context": context, "answer": answer}
    today = datetime.now(timezone.utc).date().isoformat()
    saved.append({**about, **environment(), "date": today, "methods": found})
    RESULTS.write_text(json.dumps(saved, indent=1) + "\n")
    print(json.dumps(saved[-1], indent=1))


def calls(folder: str, context: int, answer: int) -> Calls:
    """Prepare what is measured.

    Args:
        folder: The model's.
        context: Tokens of the prompt.
        answer: Tokens of the answer.

    Returns:
        Functions without arguments by the name of the method.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    facts = " ".join(f"Ann{n} lives in Oslo." for n in range(context))
    prompt = tokenizer.decode(tokenizer(facts)["input_ids"][:context])
    said = tokenizer(" Bob works as a baker and" * answer)["input_ids"][:answer]
    read = torch.tensor([[*tokenizer(prompt)["input_ids"], *said]])

    def ours(**options: Any) -> None:
        explain_answer(model, tokenizer, prompt, said, spans="all", **options)

    return {
        PLAIN: lambda: plain(model, read, answer),
        "explain_answer": ours,
        "conservative": lambda: ours(rules="conservative"),
        "low_memory": lambda: ours(low_memory=True),
        "at the cache": lambda: ours(wrt="cache"),
    }


def plain(model: nn.Module, ids: torch.Tensor, count: int) -> None:
    """Take the gradient of the last tokens' log-probability at the embeddings."""
    embed = model.get_input_embeddings()  # type: ignore[operator]
    read = embed(ids[:, :-1]).detach().requires_grad_()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    out = model(inputs_embeds=read, use_cache=False, logits_to_keep=count)
    logs = out.logits[0].log_softmax(1).gather(1, ids[0, -count:, None])
    torch.autograd.grad(logs.sum(), read)


def peak(folder: str, context: int, answer: int, name: str) -> int:
    """Measure the peak memory of a method in a process of its own."""
    code = (
        "from benchmarks.answers.cost import calls; "
        "from benchmarks.cost.memory import watch; "
        f"calls({folder!r}, 32, 4)[{name!r}](); "  # code is read from disk at first
        f"print(watch(calls({folder!r}, {context}, {answer})[{name!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | MALLOC,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
