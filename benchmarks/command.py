"""Commands that take no arguments: ``--help`` says what they do, others are refused."""

from __future__ import annotations

import argparse

__all__ = ["without_arguments"]


def without_arguments(about: str | None) -> None:
    """Read a command line that has nothing to say.

    Args:
        about: What ``--help`` says.
    """
    argparse.ArgumentParser(description=about).parse_args()
