"""The command line: one command run, its errors told in a line."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
import warnings
from argparse import Namespace
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from types import FrameType
from typing import TextIO

from .commands.arguments import command_parser
from .commands.waiting import waiting
from .errors import LrpHooksError, LrpHooksWarning
from .support.text import one_line

__all__ = ["main"]

DEFECT = 1
BAD_INPUT = 2
INTERRUPTED = 130  # what a shell reports after Ctrl-C
BROKEN_PIPE = 141  # what it reports of a writer whose reader has left
LONGEST_MESSAGE = 500
LONGEST_CAUSE = 300
MOST_OF_A_KIND = 5
TRACEBACK = "LRP_HOOKS_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments. Defaults to those of the process.

    Returns:
        The exit code: 0, or 2 after bad input, with one line on standard error.
    """
    stderr, interrupts = sys.stderr, list[int]()
    try:
        with _noting(interrupts):
            caught = _run(command_parser().parse_args(argv), stderr)
            sys.stdout.flush()
    except BaseException as error:
        if interrupts or isinstance(error, KeyboardInterrupt):
            print("lrp-hooks: stopped; files are whole or not there", file=stderr)
            return INTERRUPTED
        code = _failed(error, stderr)
        if code is None:
            raise
        return code
    for line in _told(caught):
        print(f"lrp-hooks: {line}", file=stderr)
    return 0


def _told(caught: Sequence[warnings.WarningMessage]) -> Generator[str]:
    """Yield what is told of warnings: of a kind that many texts have, the first few."""
    kinds: dict[type[Warning], dict[str, None]] = {}
    for warning in caught:
        if issubclass(warning.category, LrpHooksWarning):
            kinds.setdefault(warning.category, {})[str(warning.message)] = None
    for kind, messages in kinds.items():
        yield from list(messages)[:MOST_OF_A_KIND]
        if (more := len(messages) - MOST_OF_A_KIND) > 0:
            yield f"{more} more warnings of this kind ({kind.__name__})"


@contextmanager
def _noting(interrupts: list[int]) -> Generator[None]:
    """Note each Ctrl-C, since other exceptions may take its exception's place.

    A lock that an interrupt has not let be taken, say, cannot be released.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) != signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _failed(error: BaseException, stderr: TextIO) -> int | None:
    """Tell of an error in a line, and return the exit code; None to let it pass."""
    if isinstance(error, LrpHooksError):
        print(one_line(f"lrp-hooks: {error}", LONGEST_MESSAGE), file=stderr)
        return BAD_INPUT
    if not isinstance(error, OSError):
        if not isinstance(error, Exception) or os.environ.get(TRACEBACK):
            return None
        said = f"{type(error).__name__}: {error}"
        advice = f"This is a defect of lrp-hooks; {TRACEBACK}=1 shows where. Report it."
        print(f"lrp-hooks: {one_line(said, LONGEST_CAUSE)} {advice}", file=stderr)
        return DEFECT
    # Files report their own errors, so this is standard output; the interpreter
    # must not flush into it again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    reason = f"standard output cannot be written: {error.strerror}"
    print(f"lrp-hooks: {reason}", file=stderr)
    return BAD_INPUT


def _run(arguments: Namespace, stderr: TextIO) -> list[warnings.WarningMessage]:
    """Run a command, and return what was warned of."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # not all can write a "▁"
    with _quiet() as caught:
        # Imported here, since libraries have things to say when imported, too.
        name = arguments.command.replace("-", "_")
        with waiting(stderr, "starting"):
            command = import_module(f".commands.{name}", __package__)
        command.run(arguments, stderr)
    return caught


@contextmanager
def _quiet() -> Generator[list[warnings.WarningMessage], None, None]:
    """Keep other libraries' logs, warnings and progress bars off standard error.

    Yields:
        The warnings that were caught.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            yield caught
    finally:
        logging.disable(disabled)


if __name__ == "__main__":
    sys.exit(main())
