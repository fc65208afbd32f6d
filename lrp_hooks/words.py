"""Which tokens make which word: the public names of `lrp_hooks.results.words`."""

from .results.words import Grouping, group, subword_mark

__all__ = ["Grouping", "group", "subword_mark"]
