"""Where data lies: golden values beside the tests, big models where there are any."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"

_NAMED = os.environ.get("LRP_HOOKS_SHARED")
SHARED = Path(_NAMED or "LRP_HOOKS_SHARED names no folder")
needs_shared = pytest.mark.skipif(
    not _NAMED, reason="LRP_HOOKS_SHARED names no folder of models and data"
)


@cache
def arrays(name):
    """Read the arrays of an npz file in the tests' own data."""
    with np.load(DATA / f"{name}.npz") as stored:
        return {key: torch.tensor(stored[key]) for key in stored.files}
