"""One forward pass, recorded: which functions made the output out of what is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...engine.autograd import carries
from ...engine.functions import in_place
from ...engine.stack import active_scope
from ...engine.surroundings import storage_address

__all__ = ["FirstMix", "Node", "Tape"]


@dataclass(eq=False)
class Node:
    """One recorded function call.

    Attributes:
        kind: ``"source"``, ``"linear"``, ``"norm"``, ``"activation"``, ``"mix"``
            (attention over values), ``"sum"``, ``"move"`` (a view or a copy),
            ``"select"``, ``"mean"``, or the name of any other function.
        value: What came out.
        inputs: Where the arguments that depend on what is read came from.
        module: The qualified name of the module that made the call.
        settings: The other arguments, by kind.
    """

    kind: str
    value: Tensor
    inputs: tuple[Node, ...] = ()
    module: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> Node:
        """The first input."""
        return self.inputs[0]

    def still(self) -> Node:
        """Return the node behind views and copies."""
        node = self
        while node.kind == "move":
            node = node.input
        return node


class FirstMix(BaseException):  # no error, and no model's except shall catch it
    """Ends a forward pass at its first attention.

    Attributes:
        node: The attention.
        frames: The names of the modules that were running, the outermost first.
    """

    def __init__(self, node: Node, frames: tuple[str, ...]) -> None:
        """Tell where the pass ended.

        Args:
            node: See above.
            frames: See above.
        """
        super().__init__()
        self.node = node
        self.frames = frames


class Tape:
    """Records what happens to a tensor while a model runs."""

    def __init__(self, to_first_mix: bool = False) -> None:
        """Start with nothing recorded.

        Args:
            to_first_mix: Whether to end the forward pass there, by `FirstMix`.
        """
        self._nodes: dict[int, Node] = {}
        self._ends = to_first_mix

    def node(self, tensor: Tensor) -> Node:
        """Return the node that a tensor came from.

        Args:
            tensor: A tensor that depends on what is read.

        Returns:
            Its node; a new source where nothing was recorded.
        """
        return self._nodes.setdefault(id(tensor), Node("source", tensor))

    def note(
        self, kind: str, out: Any, inputs: tuple[Tensor, ...], **settings: Any
    ) -> Any:
        """Record a result.

        Args:
            kind: See `Node`.
            out: The result, without a graph; or several.
            inputs: The arguments that depend on what is read.
            **settings: See `Node`.

        Returns:
            The result, marked as depending on what is read.

        Raises:
            FirstMix: At the first attention, if the pass is to end there.
        """
        if isinstance(out, tuple | list):
            return type(out)([self.note(kind, part, inputs) for part in out])
        if not isinstance(out, Tensor) or not out.is_floating_point():
            return out
        nodes = tuple(map(self.node, inputs))
        if all(out is not value for value in inputs):
            with torch._C.DisableTorchFunction():
                out = out.detach()
            out.requires_grad = True  # marks what depends on the source; no graph
        scope = active_scope()
        frames = tuple(f.name for f in scope.frames) if scope is not None else ("",)
        node = Node(kind, out, nodes, frames[-1], settings)
        if kind == "mix" and self._ends:
            raise FirstMix(node, frames)
        self._nodes[id(out)] = node
        return out

    def call(
        self,
        kind: str,
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        **settings: Any,
    ) -> Any:
        """Call a function and record its result.

        Args:
            kind: See `Node`.
            func: The function.
            args: Its arguments.
            kwargs: Its keyword arguments.
            **settings: See `Node`.

        Returns:
            The result, marked if an argument was.
        """
        live = tuple(_live((args, tuple(kwargs.values()))))
        if not live:
            return func(*args, **kwargs)
        if in_place(func) and carries(args[0]):
            self._overwrite(args[0], func.__name__)
        with torch.no_grad():
            out = func(*args, **kwargs)
        unmoved = kind == "move" and out is args[0]
        return out if unmoved else self.note(kind, out, live, **settings)

    def _overwrite(self, tensor: Tensor, name: str) -> None:
        """Keep what a tensor was, and disown all that shares its memory."""
        node = self.node(tensor)
        node.value = tensor.detach().clone()
        address = storage_address(tensor)
        for key, other in list(self._nodes.items()):
            if other is not node and storage_address(other.value) == address:
                self._nodes[key] = Node(
                    f"{name} of a part", other.value, (), node.module
                )
        if name == "__setitem__":
            self._nodes[id(tensor)] = Node(name, tensor, (node,), node.module)


def _live(value: Any) -> list[Tensor]:
    """List the tensors among nested arguments that depend on what is read."""
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _live(item)]
    return [value] if carries(value) else []
