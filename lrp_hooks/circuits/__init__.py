"""Circuits: where relevance flows, as a graph that balances."""

from .circuit import Circuit
from .find import find_circuit
from .intervene import intervene
from .nodes import Edge, Node

__all__ = ["Circuit", "Edge", "Node", "find_circuit", "intervene"]
