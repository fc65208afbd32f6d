"""Run the library on an accelerator: ``python -m benchmarks.gpu.run``.

Without CUDA it says so in a line and ends. ``--device cpu`` runs the same on a CPU.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

import lrp_hooks

from .agreement import agreement
from .cost import cost, long
from .report import RESULTS, tables

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Measure everything, save, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = torch.device(parser.parse_args().device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: there is no CUDA here, so nothing was measured.")
        return
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    results = measured(config, device)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(tables(results))


def measured(config: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Measure everything.

    Args:
        config: The configuration.
        device: Where.

    Returns:
        What is saved.
    """
    torch.manual_seed(config["seed"])
    cuda = device.type == "cuda"
    return {
        "config": config,
        "agreement": agreement(config, device),
        "cost": cost(config, device),
        "long": long(config, device),
        "environment": {
            "device": torch.cuda.get_device_name(device) if cuda else str(device),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "lrp_hooks": lrp_hooks.__version__,
        },
    }


if __name__ == "__main__":
    main()
