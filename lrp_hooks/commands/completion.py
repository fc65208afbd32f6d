"""``lrp-hooks completion``: a script that completes commands in a shell."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import Any, TextIO

from ..support.extras import require
from .arguments import command_parser

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Print the script of a shell.

    Args:
        arguments: What the command line says.
        stderr: Unused: it takes no time.
    """
    shtab = require("shtab", "completion", "lrp-hooks completion")
    parser = command_parser()
    _tell_files(parser, {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY})
    print(shtab.complete(parser, shell=arguments.shell).rstrip("\n"))


def _tell_files(parser: argparse.ArgumentParser, kinds: dict[str, Any]) -> None:
    """Let files complete what is called FILE, and folders what is called DIR."""
    for action in parser._actions:  # argparse shows them nowhere else
        if action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for own in action.choices.values():
                _tell_files(own, kinds)
