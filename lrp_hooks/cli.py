"""The command line; the only file that parses arguments."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from typing import Any, NoReturn

from .errors import ArgumentError, LrpHooksError, UnruledWarning
from .render.text import one_line

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 130  # what a shell reports after Ctrl-C
BROKEN_PIPE = 141  # what it reports of a writer whose reader has left
LONGEST_MESSAGE = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments. Defaults to those of the process.

    Returns:
        The exit code: 0, or 2 after bad input, with one line on standard error.
    """
    stderr = sys.stderr
    try:
        arguments = _parser().parse_args(argv)
        with _quiet() as caught:
            # Imported here, since libraries have things to say when imported, too.
            module = import_module(
                f".{arguments.command.replace('-', '_')}_command", __package__
            )
            module.run(arguments, stderr)
            sys.stdout.flush()
    except LrpHooksError as error:
        print(one_line(f"lrp-hooks: {error}", LONGEST_MESSAGE), file=stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # Files report their own errors, so this is standard output; the interpreter
        # must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        reason = f"standard output cannot be written: {error.strerror}"
        print(f"lrp-hooks: {reason}", file=stderr)
        return BAD_INPUT
    for warning in caught:
        if issubclass(warning.category, UnruledWarning):
            print(f"lrp-hooks: {warning.message}", file=stderr)
    return 0


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments as everything else reports bad input."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}. Try: {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="lrp-hooks",
        description="Explain what a Transformer says, by relevance that adds up.",
        epilog="lrp-hooks COMMAND --help tells more about a command.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for add in (
        _add_explain,
        _add_compare,
        _add_evaluate,
        _add_rules,
        _add_audit,
        _add_closed_forms,
    ):
        add(commands)
    return parser


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


def _add_explain(commands: Any) -> None:
    """Add ``lrp-hooks explain``."""
    parser = commands.add_parser(
        "explain",
        help="explain what a model says of a text",
        description="Show which tokens made the output, and the ledger of all of it.",
        epilog="""examples:
  lrp-hooks explain "a gripping, funny film with a weak ending"
  lrp-hooks explain "not bad at all" --target negative --html page.html
  lrp-hooks explain "A.B>>C" --model path/to/model --rules attnlrp
  lrp-hooks explain - --json scores.json < reviews.txt""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "text", metavar="TEXT", help="the text; - reads standard input, one text a line"
    )
    _add_model(parser)
    parser.add_argument("--method", metavar="NAME", default="lrp", help="an explainer")
    parser.add_argument("--rules", metavar="NAME", help="a rule set of method lrp")
    _add_target(parser)
    for kind in ("html", "png", "json"):
        parser.add_argument(f"--{kind}", metavar="FILE", help=f"write {kind.upper()}")


def _add_compare(commands: Any) -> None:
    """Add ``lrp-hooks compare``."""
    parser = commands.add_parser(
        "compare",
        help="explain a text by several methods, side by side",
        description="Show the scores of several methods, how far they agree, and what "
        "each cost. A method that cannot work on the model is named with the reason.",
        epilog="""examples:
  lrp-hooks compare "a gripping, funny film with a weak ending"
  lrp-hooks compare "not bad at all" --methods lrp,decompx,lime --html page.html""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "text", metavar="TEXT", help="the text; - reads standard input, one text a line"
    )
    _add_model(parser)
    parser.add_argument(
        "--methods", metavar="NAMES", help="explainers, separated by commas"
    )
    _add_target(parser)
    for kind in ("html", "json"):
        parser.add_argument(f"--{kind}", metavar="FILE", help=f"write {kind.upper()}")


def _add_evaluate(commands: Any) -> None:
    """Add ``lrp-hooks evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="put methods to the test on the texts of a data file",
        description="Take tokens away in the order of a method's scores, or give them "
        "back, and see what the model says: results.parquet, summary.json and "
        "report.html. The same command goes on where it was stopped.",
        epilog="""methods:
  lrp                   an explainer, with its own defaults
  lrp:attnlrp           with a rule set
  lrp:attnlrp@site      and what biases and positions took given back to the tokens:
                        at its site, or @equal, @first, @abs

examples:
  lrp-hooks evaluate --data reviews.csv --out results
  lrp-hooks evaluate --data dev.parquet --model path/to/model --out results \\
      --methods lrp,lrp:attnlrp@site,decompx,random_baseline --workers 2
  lrp-hooks evaluate --data dev.tsv --text review --label stars --limit 100 \\
      --metrics activation,aopc --sign signed,absolute --out results""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        required=True,
        help="texts, one a row: .parquet, .csv, .tsv or .jsonl",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="the results")
    _add_model(parser)
    columns = parser.add_argument_group("columns of the data file")
    columns.add_argument(
        "--text", metavar="COLUMN", help="of texts (default: text or sentence)"
    )
    columns.add_argument(
        "--label",
        metavar="COLUMN",
        help="of labels, names or numbers (default: label, if there is one); '' for "
        "none",
    )
    _add_protocol(parser)
    parser.add_argument("--json", metavar="FILE", help="write summary.json here, too")


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add what decides the numbers of an evaluation, and how they are computed."""
    parser.add_argument(
        "--methods", metavar="NAMES", help="separated by commas, see below"
    )
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help="separated by commas (default: all that are curves)",
    )
    parser.add_argument(
        "--target",
        metavar="WHICH",
        default="predicted",
        help="the class that is explained: predicted or label (default: %(default)s)",
    )
    parser.add_argument(
        "--sign",
        metavar="SIGNS",
        default="signed",
        help="scores as they are, signed, or absolute, or both separated by a comma "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--replace-with",
        metavar="TOKEN",
        help="what takes a token's place: mask, unk, pad or delete, or METRIC=TOKEN "
        "separated by commas (default: unk for activation and pruning, else mask)",
    )
    for name, default, text in (
        ("limit", None, "read the first N rows alone"),
        ("chunk", 16, "explain N texts together (default: %(default)s)"),
        ("workers", 1, "processes of one thread each (default: %(default)s)"),
    ):
        parser.add_argument(
            f"--{name}", metavar="N", type=_count, default=default, help=text
        )


def _add_rules(commands: Any) -> None:
    """Add ``lrp-hooks rules``."""
    parser = commands.add_parser(
        "rules",
        help="show which rule each module of a model has, and why",
        description="Show a rule set, and the rule of each module of a model with the "
        "reason that it matched. The model is not run: what bends relevance without a "
        "rule shows in lrp-hooks audit.",
        epilog="""examples:
  lrp-hooks rules
  lrp-hooks rules --model path/to/model --rules attnlrp --json rules.json""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_model(parser)
    parser.add_argument("--rules", metavar="NAME", **_RULES)
    parser.add_argument("--json", metavar="FILE", help="write JSON")


def _add_audit(commands: Any) -> None:
    """Add ``lrp-hooks audit``."""
    parser = commands.add_parser(
        "audit",
        help="find the module in which relevance leaks",
        description="Show the relevance leaving and entering each module, its bias "
        "share and its leak, the worst leak first, and the ledger.",
        epilog="""examples:
  lrp-hooks audit
  lrp-hooks audit "not bad at all" --model path/to/model --rows 5
  lrp-hooks audit - --rules attnlrp --json audit.json < reviews.txt""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="?",
        default="a gripping, funny film with a weak ending",
        help="the text (default: %(default)r); - reads standard input, one text a "
        "line, as one batch",
    )
    _add_model(parser)
    parser.add_argument("--rules", metavar="NAME", **_RULES)
    _add_target(parser)
    parser.add_argument("--json", metavar="FILE", help="write JSON, with all modules")
    parser.add_argument(
        "--rows",
        metavar="N",
        type=_count,
        default=20,
        help="how many modules are printed (default: %(default)s)",
    )


def _add_closed_forms(commands: Any) -> None:
    """Add ``lrp-hooks closed-forms``."""
    parser = commands.add_parser(
        "closed-forms",
        help="verify the closed forms of attention, gradient and LIME",
        description="Compare the closed forms of a one-layer attention classifier "
        "with autograd and with LIME, and show their errors. It needs no model.",
        epilog="""examples:
  lrp-hooks closed-forms
  lrp-hooks closed-forms --json errors.json""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", metavar="FILE", help="write JSON")


_RULES: dict[str, Any] = {
    "default": "conservative",
    "help": "a rule set (default: %(default)s)",
}


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="a local Hugging Face folder (default: the embedded sentiment model)",
    )


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        metavar="LABEL",
        help="a label or class id (default: the prediction)",
    )


def _count(text: str) -> int:
    """Return a number of things.

    Raises:
        ArgumentTypeError: If there would be none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
