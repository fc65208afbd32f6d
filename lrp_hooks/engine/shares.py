"""Values that are spread over ranks: which of them are shares, and what the whole is.

Layers in tensor parallel hand on plain tensors that hold one rank's share of a value:
its heads, its features, its tokens. The graph tells: the step that turned a distributed
tensor into a local one knows how it was placed, and all that is made of it is a share
too, up to the next such step. Each rank runs the same graph, so that all of them come
to the same exchange at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .storage import is_distributed

__all__ = ["Share", "exchanges", "replicated", "share_of", "sums", "whole"]

_SHARE = "lrp_hooks: share"


def exchanges(func: Any) -> bool:
    """Tell a function that moves or sums values between ranks, which is linear.

    Args:
        func: A torch function.

    Returns:
        True for torch's functional collectives.
    """
    name = getattr(func, "__name__", "")
    return name.removesuffix("_coalesced").strip("_") in _EXCHANGES


_EXCHANGES = frozenset(
    "all_gather_into_tensor all_gather_into_tensor_out all_reduce all_to_all_single "
    "broadcast reduce_scatter_tensor shard_dim_alltoall wait_tensor".split()
)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a distributed tensor's values.

    Args:
        tensor: Any tensor; ranks that share it must ask at the same time.

    Returns:
        A plain tensor; the tensor itself if it is one.
    """
    return tensor.full_tensor() if is_distributed(tensor) else tensor  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Share:
    """How tensors of several ranks are shares of one value.

    Attributes:
        mesh: The device mesh.
        placements: How the value is placed, one entry for each axis of the mesh.
        shape: That of the whole value; None where only its sum over ranks is known.
    """

    mesh: Any
    placements: tuple[Any, ...]
    shape: tuple[int, ...] | None

    def fits(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is placed like this, dimension by dimension.

        Args:
            tensor: What was made of a share.

        Returns:
            True if it has the whole shape but for the dimensions that are spread.
        """
        if self.shape is None or len(self.shape) != tensor.ndim:
            return False
        spread = {p.dim % tensor.ndim for p in self.placements if p.is_shard()}
        pairs = enumerate(zip(tensor.shape, self.shape, strict=True))
        return all(a == b or dim in spread for dim, (a, b) in pairs)

    def of_terms(self, tensor: Tensor, ndim: int) -> Share:
        """Return how terms are shares that keep the first dimensions of a tensor.

        Args:
            tensor: The share that they were made of.
            ndim: How many of its dimensions they keep; the others are summed up.

        Returns:
            Their own share.
        """
        if not self.fits(tensor):
            return self.summed()
        kept = [
            p
            if p.is_replicate() or (p.is_shard() and p.dim % tensor.ndim < ndim)
            else _partial()
            for p in self.placements
        ]
        spread = {p.dim % tensor.ndim for p in kept if p.is_shard()}
        given = self._shape_of(tensor)
        shape = [n if d in spread else tensor.shape[d] for d, n in enumerate(given)]
        return Share(self.mesh, tuple(kept), tuple(shape[:ndim]))

    def along(self, dim: int) -> Share:
        """Return how a tensor is a share that is known to be spread along a dimension.

        Args:
            dim: The dimension.

        Returns:
            Its share.
        """
        from torch.distributed.tensor import Shard  # noqa: PLC0415

        placed = (Shard(dim) if p.is_shard() else p for p in self.placements)
        return Share(self.mesh, tuple(placed), None)

    def summed(self) -> Share:
        """Return how terms are shares that keep no dimension that is spread."""
        placed = (p if p.is_replicate() else _partial() for p in self.placements)
        return Share(self.mesh, tuple(placed), None)

    def distributed(self, tensor: Tensor) -> Any:
        """Return the distributed tensor that a share is a part of.

        Args:
            tensor: One rank's share; gradients flow through.

        Returns:
            A ``DTensor``.
        """
        from torch.distributed.tensor import DTensor  # noqa: PLC0415

        shape = self._shape_of(tensor)
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(
            tensor,
            self.mesh,
            self.placements,
            run_check=False,
            shape=torch.Size(shape),
            stride=stride,
        )

    def whole(self, terms: Tensor) -> Tensor:
        """Return all of the value that terms are a share of.

        Args:
            terms: One rank's.

        Returns:
            The same on every rank.
        """
        return whole(self.distributed(terms.contiguous()))

    def _shape_of(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the whole shape of what a tensor is a share of."""
        shape, known = list(tensor.shape), self.shape
        for axis, placed in enumerate(self.placements):
            if placed.is_shard():
                shape[placed.dim] *= self.mesh.size(axis)
        # A last share may be a shorter one; what has another width is shared evenly.
        if known is None or len(known) != len(shape):
            return tuple(shape)
        alike = _lengths(self, known) == tuple(tensor.shape)
        return known if alike else tuple(shape)


def _lengths(share: Share, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of this rank's share, as torch cuts a dimension in chunks."""
    local = list(shape)
    for axis, placed in enumerate(share.placements):
        if placed.is_shard():
            dim, ranks = placed.dim % len(shape), share.mesh.size(axis)
            chunk = -(-local[dim] // ranks)
            first = min(local[dim], chunk * share.mesh.get_local_rank(axis))
            local[dim] = min(chunk, local[dim] - first)
    return tuple(local)


def _partial() -> Any:
    from torch.distributed.tensor import Partial  # noqa: PLC0415

    return Partial()


def share_of(tensor: Tensor) -> Share | None:
    """Find out whether a plain tensor is one rank's share of a value.

    Args:
        tensor: A tensor of a graph.

    Returns:
        How it is placed, or None where all ranks have the same.
    """
    if is_distributed(tensor) or tensor.grad_fn is None:
        return None
    return _share_behind(tensor.grad_fn)


def _share_behind(start: Any) -> Share | None:
    """Look for the last step out of a distributed tensor; nodes keep the answer."""
    path = [(start, iter(start.next_functions))]
    while path:
        node, parents = path[-1]
        if _SHARE not in node.metadata:
            known, share = _own_share(node)
            if not known:
                parent = next((p for p, _ in parents if p is not None), None)
                if parent is not None:
                    path.append((parent, iter(parent.next_functions)))
                    continue
                behind = [p.metadata.get(_SHARE) for p, _ in node.next_functions if p]
                share = next((s for s in behind if s is not None), None)
            node.metadata[_SHARE] = share
        path.pop()
    found: Share | None = start.metadata[_SHARE]
    return found


def _own_share(node: Any) -> tuple[bool, Share | None]:
    """Return whether a node is such a step, and how what it returns is placed."""
    name = node.name()
    if name == "_ToTorchTensorBackward":
        spec = node.dtensor_spec
        placed = node.grad_placements or tuple(
            replicated() if p.is_partial() else p for p in spec.placements
        )
        if all(p.is_replicate() for p in placed):
            return True, None
        return True, Share(spec.mesh, tuple(placed), tuple(spec.shape))
    if name == "_AllReduceForwardBackward":  # of transformers' experts
        return True, None
    if name == "_AllReduceBackwardBackward":
        return True, _over_group(node.process_group)
    return False, None


def replicated() -> Any:
    """Return the placement of what is the same on every rank."""
    from torch.distributed.tensor import Replicate  # noqa: PLC0415

    return Replicate()


def _over_group(group: Any) -> Share:
    """Return how values are shares whose gradients a group sums up."""
    from torch.distributed.device_mesh import DeviceMesh  # noqa: PLC0415

    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    backend = torch.distributed.get_backend(group)
    kind = "cpu" if backend == "gloo" else device.type
    return Share(DeviceMesh.from_group(group, kind), (_partial(),), None)


def sums(parts: Sequence[tuple[Tensor, Share | None]]) -> list[float]:
    """Sum numbers over the ranks that have a part of each, in one exchange a layout.

    Args:
        parts: Numbers, each with how it is one rank's share of a sum.

    Returns:
        The whole of each.
    """
    totals = [0.0] * len(parts)
    layouts: dict[Any, Share | None] = {None: None}
    groups: dict[Any, list[tuple[int, Tensor]]] = {}
    for place, part in enumerate(parts):
        number, share = _taken_apart(*part)
        key = None if share is None else (share.mesh, share.placements)
        layouts[key] = share
        groups.setdefault(key, []).append((place, number))
    for key, members in groups.items():
        places, numbers = zip(*members, strict=True)
        stacked, layout = torch.stack([n.cpu() for n in numbers]), layouts[key]
        if layout is not None:
            stacked = layout.whole(stacked.to(numbers[0].device))
        for place, total in zip(places, stacked.tolist(), strict=True):
            totals[place] = total
    return totals


def _taken_apart(number: Any, share: Share | None) -> tuple[Tensor, Share | None]:
    """Return this rank's part of a distributed number, and how it is one."""
    if not is_distributed(number):
        return number, share
    return number.to_local(), Share(number.device_mesh, number.placements, None)
