"""Relevance in inseq: importing this package adds the attribution method ``"lrp"``.

inseq keeps no list to which a package could add itself: it knows the subclasses of its
registry, and so knows this one once it is imported.
"""

from .method import RelevanceAttribution

__all__ = ["RelevanceAttribution"]
