"""Columns of digits and of molecules."""

from __future__ import annotations

from typing import Any

import torch

from lrp_hooks.faithfulness import Occlusion

from ..molecules import data as molecule_data
from ..molecules.graphs import TOKENIZER, UNKNOWN, VIRTUAL
from ..molecules.train import Examples
from ..molecules.train import load as load_molecules
from ..training import vit
from ..training.batches import split
from ..vision.reading import FromBlack, resolutions
from ..vision.run import load as load_vit
from .encoders import Made, judge_by_curves
from .scoring import Item, Places, rivals

__all__ = ["digits", "molecules"]


def digits(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Digits that the model was not trained on, by patch, from black.

    Args:
        settings: The model, the metrics, and how many of each stage.
        stage: Every other digit is its.
        places: Where models and digits are.

    Returns:
        How many, and what makes an item.
    """
    model = load_vit(settings["model"], places.shared / "models")
    everything = vit.read(places.shared / "data" / "mnist10k")
    _, unseen = split(len(everything.labels), vit.HELD_OUT, vit.SPLIT_SEED)
    own = everything.pick(unseen[int(stage == "told") :: 2][: settings[stage]["limit"]])
    seen, side = FromBlack(model).eval(), model.config.patch_size

    def item(number: int) -> Item:
        shown = own.images[number : number + 1] - vit.BACKGROUND
        with torch.no_grad():
            logits = seen(shown).logits
        target = logits.argmax(1).tolist()
        grid = [length // side for length in shown.shape[2:]]
        occlusion = Occlusion(seen, shown, 0.0, grid=grid)
        return Item(
            model=seen,
            tokenizer=None,
            batch={"pixel_values": shown},
            target=target,
            fold=lambda scores: resolutions(scores, side, False)["patches"],
            judge=judge_by_curves(occlusion, target, settings["metrics"]),
            targets=rivals(logits, target),
            reads={"norm": "model.vit.embeddings", "block": "model.vit.layers.0"},
            options={"leave_one_out": {"patch": side}},
        )

    return len(own.labels), item


def molecules(settings: dict[str, Any], stage: str, places: Places) -> Made:
    """Molecules, and atoms that are not shown.

    Args:
        settings: The task, the metrics, and how many of each stage.
        stage: The validation part is searched, the test part told.
        places: Where the data is.

    Returns:
        How many, and what makes an item.
    """
    model, info = load_molecules(settings["task"])
    table = molecule_data.read(settings["task"], places.shared / "data" / "molecules")
    parts = molecule_data.split(table, info["settings"]["split_seed"])
    part = parts["test" if stage == "told" else "validation"]
    limit = settings[stage].get("limit", len(part.smiles))
    part = molecule_data.Molecules(part.smiles[:limit], part.labels[:limit])
    examples = Examples.of(part)

    def item(number: int) -> Item:
        ((batch, _),) = examples.batches([torch.tensor([number])])
        with torch.no_grad():
            found = model(**batch)
        logits = getattr(found, "logits", found)
        target = logits.argmax(1).tolist()
        shown = Occlusion(model, batch, UNKNOWN, special_ids=(VIRTUAL,))
        return Item(
            model=model,
            tokenizer=TOKENIZER,
            batch=batch,
            target=target,
            fold=torch.clone,
            judge=judge_by_curves(shown, target, settings["metrics"]),
            targets=rivals(logits, target),
            options={
                "leave_one_out": {"replace_with": UNKNOWN},
                "integrated_gradients": {"baseline": UNKNOWN},
            },
        )

    return len(part.smiles), item
