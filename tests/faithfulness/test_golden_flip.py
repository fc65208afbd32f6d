"""The published metric: what the authors' own ``flip`` made of the golden model.

Ali et al. 2022; the arrays are described in ``data/ali/README.md``.
"""

import numpy as np
import pytest
import torch

from ali_models import authors
from folders import arrays
from lrp_hooks import faithfulness

CASES = ("GI", "LRP_AH", "LRP_LN", "LRP_AH_LN", "LRP_AH_LN_meanstd")
UNKNOWN = 5

every_case = pytest.mark.parametrize("case", CASES)
every_class = pytest.mark.parametrize("target", range(3))


def flipped(case, target, metrics, published=True):
    name = f"f64/{case}/R_class{target}"
    scores = (
        arrays("ali/flip") if name in arrays("ali/flip") else arrays("ali/golden")
    )[name]
    return faithfulness.measure(
        authors("f64"),
        arrays("ali/golden")["input_ids"],
        scores[None],
        target,
        UNKNOWN,
        metrics,
        published=published,
    )


@every_case
@every_class
def test_curves_and_areas_are_those_of_the_authors(case, target):
    golden, key = arrays("ali/flip"), f"flip/{case}/class{target}"
    found = flipped(case, target, ("activation", "pruning"))
    for name, curve, area in (
        ("activation", "generate_evidence", "AUAC"),
        ("pruning", "pruning_mse", "AU_MSE"),
    ):
        assert found[name].fractions.tolist() == pytest.approx(np.linspace(0, 1, 11))
        right = golden[f"{key}/{curve}"]
        assert (found[name].values[0] - right).abs().max() <= 1e-9
        assert abs(found[name].score - golden[f"{key}/{area}"]) <= 1e-9
        assert torch.equal(found[name].score, found[name].area)


@every_class
def test_the_noise_of_their_ceiling_is_needed_to_agree(target):
    """Of 10 tokens they take 4, 7 and 8 where 3, 6 and 7 are meant."""
    found = flipped("LRP_AH_LN", target, ("activation",), published=False)
    right = arrays("ali/flip")[f"flip/LRP_AH_LN/class{target}/generate_evidence"]
    differs = (found["activation"].values[0] - right).abs() > 1e-9
    assert differs.nonzero()[:, 0].tolist() == [3, 6, 7]


def test_every_stored_case_is_compared():
    stored = {
        key.split("/")[1] for key in arrays("ali/flip") if key.startswith("flip/")
    }
    assert stored == set(CASES)
