"""Models that are spread over ranks: their values in one piece, their ranks in step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from .shares import Share, replicated, share_of
from .storage import is_distributed
from .walk import modules_of, parameters_of

__all__ = [
    "agreed",
    "check_ranks",
    "gathered",
    "is_spread",
    "placed_as",
    "seen_whole",
    "whole_output",
]


def is_spread(model: nn.Module) -> bool:
    """Tell a model whose parameters are spread over ranks.

    Args:
        model: Any module.

    Returns:
        True for tensor parallel models, and for those of ``fully_shard`` while their
        parameters are not gathered.
    """
    kinds = {type(parameter): parameter for parameter in parameters_of(model)}
    return any(map(is_distributed, kinds.values()))


def gathered(tensor: Tensor, share: Share | None = None) -> Tensor:
    """Return all of a value as a plain tensor; gradients flow back to each share.

    Args:
        tensor: A distributed tensor, or one rank's share of a value.
        share: How a share is placed; by default what the graph says.

    Returns:
        The same on every rank; the tensor itself where it is whole already.

    Raises:
        UnsupportedModelError: If how it is placed is not known.
    """
    if is_distributed(tensor):
        placed: Any = tensor
    else:
        found = share_of(tensor) if share is None else share
        if found is None:
            return tensor
        if share is None and not found.fits(tensor):
            raise UnsupportedModelError(
                f"a tensor of shape {tuple(tensor.shape)} is one rank's share of a "
                "value, and its layout does not show of which part; name a module "
                "whose output is whole on every rank, or one that is split itself."
            )
        placed = found.distributed(tensor)
    everywhere = [replicated()] * placed.device_mesh.ndim
    result: Tensor = placed.redistribute(placements=everywhere).to_local()
    return result


def placed_as(value: Tensor, like: Tensor) -> Tensor:
    """Give a whole value the placement of another tensor; gradients flow back.

    Args:
        value: A plain tensor, the same on every rank.
        like: What `gathered` made it of.

    Returns:
        A distributed tensor, or one rank's share; the value itself where that is whole.
    """
    share = share_of(like)
    if not is_distributed(like) and share is None:
        return value
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    mesh: Any = share.mesh if share is not None else like.device_mesh  # type: ignore[attr-defined]
    placements = share.placements if share is not None else like.placements  # type: ignore[attr-defined]
    placed = [replicated() if p.is_partial() else p for p in placements]
    everywhere = [replicated()] * mesh.ndim
    spread = DTensor.from_local(value, mesh, everywhere, run_check=False)
    spread = spread.redistribute(placements=placed)
    return spread if share is None else spread.to_local()


def seen_whole(value: Tensor) -> tuple[Tensor, Tensor]:
    """Take a look at a value without being in the way.

    Args:
        value: A tensor of any placement.

    Returns:
        All of it, whose gradient is the whole one; and what is to be handed on in its
        place, which whoever gets it may overwrite.
    """
    seen = gathered(value).clone()
    return seen, placed_as(seen.clone(), value)


def whole_output(value: Tensor) -> Tensor:
    """Return all of what a model returns, as far as its layout is known.

    Args:
        value: One of its outputs.

    Returns:
        The whole; the value itself where it is that, or where it is not known.
    """
    share = share_of(value)
    return value if share is not None and not share.fits(value) else gathered(value)


def agreed(model: nn.Module, flag: bool) -> bool:
    """Let all ranks of a spread model do the same: what one of them needs, all do.

    Args:
        model: The model.
        flag: Whether this rank needs it.

    Returns:
        Whether any rank does.
    """
    spread: Any = next(filter(is_distributed, parameters_of(model)), None)
    if spread is None:
        return flag
    mesh = spread.device_mesh
    votes = torch.tensor(float(flag), device=mesh.device_type)
    for axis in range(mesh.ndim):
        torch.distributed.all_reduce(votes, group=mesh.get_group(axis))
    return bool(votes > 0)


def check_ranks(model: nn.Module) -> None:
    """Refuse a model that is spread over ranks in a way that no rule goes through.

    Args:
        model: Any module.

    Raises:
        UnsupportedModelError: If its layers are spread over a pipeline of ranks, or it
            is wrapped by ``FullyShardedDataParallel``.
    """
    modules = modules_of(model)
    kinds = {type(module).__name__ for module in modules}
    if "FullyShardedDataParallel" in kinds:
        raise UnsupportedModelError(
            "the model is wrapped by FullyShardedDataParallel, whose flat parameters "
            "no rule can tell from the inputs; use torch.distributed.fsdp.fully_shard."
        )
    # What a module has not takes a module long to say.
    stages = [vars(module).get("_pp_stage") for module in modules]
    stage = next((s for s in stages if getattr(s, "pp_size", 1) > 1), None)
    if stage is not None:
        raise UnsupportedModelError(
            f"the model's layers are spread over {stage.pp_size} ranks of a pipeline "
            "(pp_size), which no gradient crosses, so no rank can explain the whole. "
            "Load it with device_map, tp_plan or fully_shard instead."
        )
