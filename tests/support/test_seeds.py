"""What seeds a generator, and what is refused wherever one is passed."""

import numpy as np
import pytest
import torch

from lrp_hooks import ArgumentError, faithfulness
from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.closed_form import verify_closed_forms
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.support.seeds import check_seed


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 - 1, np.int64(3)])
def test_a_seed_is_what_torch_takes(seed):
    assert torch.Generator().manual_seed(check_seed(seed)) is not None


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 1.0, True, None, "1"])
def test_all_else_is_refused_by_name(seed):
    with pytest.raises(ArgumentError, match="seed=.*whole number"):
        check_seed(seed)


def of_infidelity(seed):
    model, tokenizer = sentiment_model()
    ids = tokenizer("a good film", return_tensors="pt")["input_ids"]
    scores = torch.ones(ids.shape)
    return faithfulness.infidelity(
        model, ids, scores, 0, tokenizer.mask_token_id, n_samples=2, seed=seed
    )


ENTRANCES = {
    "slalom": lambda seed: Slalom(*sentiment_model(), seed=seed),
    "closed forms": lambda seed: verify_closed_forms(seed=seed),
    "infidelity": of_infidelity,
}


@pytest.mark.parametrize("name", ENTRANCES)
def test_an_entrance_refuses_it(name):
    with pytest.raises(ArgumentError, match="seed="):
        ENTRANCES[name](2**70)
