"""What a circuit was found in: the model, and runs of it with nodes ablated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import advising, bind
from ..attribution.passes import eval_mode
from ..attribution.readout import select
from ..engine.subject import Subject
from ..errors import ArgumentError
from .examples import Example, Examples, read_examples
from .experts import Rows
from .lens import top_tokens
from .nodes import Node
from .sites import Site, find_sites
from .watching import acting

__all__ = ["ABLATIONS", "Origin"]

ABLATIONS = ("zero", "mean")


@dataclass(frozen=True, eq=False)
class Origin:
    """A model and the examples that a circuit was found in.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer, or None.
        examples: The examples.
        kinds: The kinds of its nodes.
        target: What was asked for.
        positions: The labels of positions that were given.
    """

    model: nn.Module
    tokenizer: Any
    examples: Examples
    kinds: tuple[str, ...]
    target: Any
    positions: Sequence[Sequence[str]] | None

    def share(
        self,
        nodes: Sequence[Node],
        batch: Any,
        ablation: str,
        target: Any,
        remove: bool,
    ) -> float:
        """Measure what of the target is left with nodes kept, or removed.

        Args:
            nodes: Neurons and heads.
            batch: See `Circuit.faithfulness`.
            ablation: See `Circuit.faithfulness`.
            target: See `Circuit.faithfulness`.
            remove: Whether these are ablated, and not all others.

        Returns:
            1 where all is kept, 0 where nothing is.

        Raises:
            ArgumentError: If there is no difference between the two.
        """
        if ablation not in ABLATIONS:
            raise ArgumentError(
                f"ablation={ablation!r} must be one of "
                f"{', '.join(map(repr, ABLATIONS))}."
            )
        runs = Ablations(self, self._examples(batch, target), ablation)
        whole = runs.output(None)
        none = runs.output(_Members((), remove=False))
        if abs(whole - none) <= 1e-6 * max(abs(whole), abs(none)):
            raise ArgumentError(
                f"ablating every node (ablation={ablation!r}) leaves the target at "
                f"{whole:.6g}, so there is nothing that a circuit could keep of it; "
                "choose another target or ablation."
            )
        left = runs.output(_Members(nodes, remove))
        return (left - none) / (whole - none)

    def _examples(self, batch: Any, target: Any) -> Examples:
        if batch is None:
            return self.examples
        target = self.target if target is None else target
        found = read_examples(self.model, batch, self.tokenizer, target, self.positions)
        if len(found.labels) != len(self.examples.labels):
            raise ArgumentError(
                f"batch has {len(found.labels)} positions and the circuit "
                f"{len(self.examples.labels)}; pass inputs of as many tokens."
            )
        return found

    def top_tokens(self, node: Node, k: int) -> list[tuple[str, float]]:
        """See `Circuit.top_tokens`."""
        example = self.examples.each[0]
        return top_tokens(self.model, self.tokenizer, example.inputs, node, k)


class _Members:
    """Which of a site's numbers are kept."""

    def __init__(self, nodes: Iterable[Node], remove: bool) -> None:
        self.remove = remove
        self.of: dict[Site, list[tuple[int, int]]] = {}
        for node in nodes:
            assert node.site is not None and node.index is not None
            place = (node.position or 0, node.index)
            self.of.setdefault(node.site, []).append(place)

    def kept(self, site: Site, roles: Tensor, rows: Rows, x: Tensor) -> Tensor:
        """Tell what stays of a tensor [R, W]."""
        groups = site.heads or x.shape[1]
        listed = torch.zeros(len(x), groups, dtype=torch.bool)
        at: dict[tuple[int, int], list[int]] = {}
        for row, place in enumerate(
            zip(roles.tolist(), rows.expert.tolist(), strict=True)
        ):
            at.setdefault(place, []).append(row)
        for role, index in self.of.get(site, ()):
            for row in at.get((role, index // groups), ()):
                listed[row, index % groups] = True
        wide = listed.repeat_interleave(x.shape[1] // groups, 1).to(x.device)
        return ~wide if self.remove else wide


class Ablations:
    """Runs of the plain model on examples, with nodes ablated."""

    def __init__(self, origin: Origin, examples: Examples, ablation: str) -> None:
        """Find the sites, and means where they are asked for.

        Args:
            origin: The model.
            examples: What it runs on.
            ablation: One of `ABLATIONS`.
        """
        self.subject = Subject(origin.model)
        self.examples = examples
        self.sites: list[list[Site]] = []
        self.targets: list[Any] = []
        self.whole = 0.0
        for example in examples.each:
            found: list[Site] = []
            find = self._finding(found, origin.kinds)
            self.whole += self._run(example, example.target, find, self.targets)
            self.sites.append(found)
        self.whole /= len(examples.each)
        self.means: dict[tuple[Site, int], Tensor] = {}
        if ablation == "mean":
            self._take_means()

    def output(self, members: _Members | None) -> float:
        """Run all examples.

        Args:
            members: What is kept; None for everything.

        Returns:
            The mean of the targets.
        """
        if members is None:
            return self.whole
        total = 0.0
        for example, sites, target in zip(
            self.examples.each, self.sites, self.targets, strict=True
        ):

            def act(
                number: int,
                x: Tensor,
                rows: Rows,
                sites: list[Site] = sites,
                example: Example = example,
            ) -> Tensor:
                site = sites[number]
                roles = example.roles_of(rows.position.cpu(), rows.count, site.module)
                kept = members.kept(site, roles, rows, x)
                return torch.where(kept, x, self._filled(site, x, rows))

            with acting(self.subject, sites, act):
                total += self._run(example, target)
        return total / len(self.sites)

    def _filled(self, site: Site, x: Tensor, rows: Rows) -> Tensor:
        """Return what stands in the place of what is ablated."""
        if not self.means:
            return torch.zeros_like(x)
        zero = torch.zeros_like(x[0])
        return torch.stack([
            self.means.get((site, e), zero) for e in rows.expert.tolist()
        ])

    def _take_means(self) -> None:
        counts: dict[tuple[Site, int], int] = {}
        for example, sites in zip(self.examples.each, self.sites, strict=True):

            def add(
                number: int, x: Tensor, rows: Rows, sites: list[Site] = sites
            ) -> None:
                for expert in sorted(set(rows.expert.tolist())):
                    key = sites[number], expert
                    own = x[rows.expert == expert]
                    self.means[key] = self.means.get(key, 0.0) + own.sum(0)
                    counts[key] = counts.get(key, 0) + len(own)

            with acting(self.subject, sites, add):
                self._run(example, example.target)
        self.means = {key: total / counts[key] for key, total in self.means.items()}

    def _finding(self, found: list[Site], kinds: tuple[str, ...]) -> Any:
        def find(run: Any) -> None:
            sites = find_sites(self.subject, run)
            found.extend(site for site in sites if site.kind in kinds)

        return find

    def _run(
        self,
        example: Example,
        target: Any,
        around: Any = None,
        targets: list[Any] | None = None,
    ) -> float:
        """Run one example, plainly."""
        with torch.no_grad(), eval_mode(self.subject.model):
            call = bind(self.subject, example.inputs)
            outputs = []

            def run() -> None:
                fresh = call.fresh()
                outputs.append(self.subject.model(*fresh.args, **fresh.kwargs))

            if around is not None:
                around(run)
            else:
                run()
            with advising(call):
                found = select(
                    outputs[-1],
                    target,
                    self.subject.model,
                    call.batch,
                    call.output_mask,
                )
        if targets is not None:
            targets.append(found.target)
        return float(found.scalar)
