"""Measure what is missing: ``python -m benchmarks.papers.slalom [PART ...]``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from . import report
from .parts import PARTS

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Measure the parts that are asked for, all by default, and rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--shared", help="folder of models and data")
    arguments = parser.parse_args()
    if arguments.shared is not None:
        os.environ["LRP_HOOKS_SHARED"] = arguments.shared
    asked = arguments.parts or list(PARTS)
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    for part in asked:
        PARTS[part](config[part])
    report.main()


if __name__ == "__main__":
    main()
