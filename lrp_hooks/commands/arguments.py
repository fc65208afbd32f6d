"""The arguments of every command: what ``lrp-hooks COMMAND --help`` shows."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import __version__, explainers
from ..errors import ArgumentError
from .answer_options import add_answer
from .circuit_options import add_circuit
from .evaluate_options import add_evaluate
from .generate_options import add_generate
from .options import (
    BIASES,
    add_beside,
    add_command,
    add_data,
    add_encoding,
    add_model,
    add_outputs,
    add_pair,
    add_rule_set,
    add_stride,
    add_target,
    add_text,
    add_words,
    count,
    port,
)

__all__ = ["command_parser"]


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments as everything else reports bad input."""

    def parse_known_args(self, *arguments: Any, **named: Any) -> Any:
        found, unknown = super().parse_known_args(*arguments, **named)
        if unknown:  # told here, where the command is known
            words = not any(one.startswith("-") for one in unknown)
            hint = ". A text of several words stands in quotes" if words else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}. Try: {self.prog} --help")


def command_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands.

    Returns:
        The parser.
    """
    parser = _Parser(
        prog="lrp-hooks",
        description="Explain what a Transformer says, by relevance that adds up.",
        epilog="lrp-hooks COMMAND --help tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for add in (
        _add_explain,
        _add_compare,
        add_evaluate,
        add_answer,
        add_circuit,
        add_generate,
        _add_rules,
        _add_audit,
        _add_closed_forms,
        _add_serve,
        _add_completion,
    ):
        add(commands)
    return parser


def _add_explain(commands: Any) -> None:
    """Add ``lrp-hooks explain``."""
    parser = add_command(
        commands,
        "explain",
        help="explain what a model says of a text",
        description="Show which tokens made the output, and the ledger of all of it.",
        epilog="""examples:
  lrp-hooks explain "a gripping, funny film with a weak ending"
  lrp-hooks explain "not bad at all" --target negative --html page.html
  lrp-hooks explain "A.B>>C" --model path/to/model --rules attnlrp
  lrp-hooks explain - --json scores.json < reviews.txt
  lrp-hooks explain "not bad at all" --json - | jq .scores
  lrp-hooks explain "not bad at all" --contrast positive negative --words
  lrp-hooks explain --image digit.png --model path/to/model --html page.html
  lrp-hooks explain --audio word.wav --model path/to/model
  lrp-hooks explain --data reviews.csv --out scores --text review --workers 2

"""
        + _listed("methods", explainers.names()),
    )
    add_text(parser, optional=True)
    add_model(parser)
    parser.add_argument(
        "--method",
        metavar="NAME",
        default="lrp",
        help="a method, see below (default: %(default)s)",
    )
    parser.add_argument(
        "--rules",
        metavar="NAME",
        help="a rule set of method lrp, such as attnlrp; lrp-hooks rules names all "
        "(default: conservative)",
    )
    add_target(parser)
    parser.add_argument(
        "--complete",
        metavar="HOW",
        choices=BIASES,
        help="give back to the tokens what biases and positions took: at their site, "
        "or by equal shares, to the first token, or by |score| (abs)",
    )
    add_words(parser)
    add_stride(parser)
    add_beside(parser)
    add_outputs(parser, "html", "png", "svg", "json")
    add_data(parser)


def _add_compare(commands: Any) -> None:
    """Add ``lrp-hooks compare``."""
    parser = add_command(
        commands,
        "compare",
        help="explain a text by several methods, side by side",
        description="Show the scores of several methods, how far they agree, and what "
        "each cost. A method that cannot work on the model is named with the reason.",
        epilog="""examples:
  lrp-hooks compare "a gripping, funny film with a weak ending"
  lrp-hooks compare "not bad at all" --methods lrp,lrp:attnlrp,lime --html page.html
  lrp-hooks compare "not bad at all" --methods lrp --target positive \\
      --target negative --rows methods --html classes.html

"""
        + _listed("methods", explainers.names()),
    )
    add_text(parser, optional=True)
    add_model(parser)
    parser.add_argument(
        "--methods",
        metavar="NAMES",
        help="separated by commas, see below; lrp:attnlrp is lrp with a rule set "
        f"(default: {','.join(explainers.COMPARED)})",
    )
    add_target(parser, several=True)
    add_words(parser)
    add_stride(parser)
    add_beside(parser)
    parser.add_argument(
        "--rows",
        choices=("tokens", "methods"),
        default="tokens",
        help="what is a row of the page: a token with a column for each method, or a "
        "method with the whole text (default: %(default)s)",
    )
    add_outputs(parser, "html", "png", "svg", "json")


def _add_rules(commands: Any) -> None:
    """Add ``lrp-hooks rules``."""
    parser = add_command(
        commands,
        "rules",
        help="show which rule each module of a model has, and why",
        description="Show a rule set, and the rule of each module of a model with the "
        "reason that it matched. The model is not run: what bends relevance without a "
        "rule shows in lrp-hooks audit.",
        epilog="""examples:
  lrp-hooks rules
  lrp-hooks rules --model path/to/model --rules attnlrp --json rules.json""",
    )
    add_model(parser)
    add_rule_set(parser)
    add_outputs(parser, "json")


def _add_audit(commands: Any) -> None:
    """Add ``lrp-hooks audit``."""
    parser = add_command(
        commands,
        "audit",
        help="find the module in which relevance leaks",
        description="Show the relevance leaving and entering each module, its bias "
        "share and its leak, the worst leak first, and the ledger.",
        epilog="""examples:
  lrp-hooks audit
  lrp-hooks audit "not bad at all" --model path/to/model --rows 5
  lrp-hooks audit - --rules attnlrp --json audit.json < reviews.txt""",
    )
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="?",
        default="a gripping, funny film with a weak ending",
        help="the text (default: %(default)r); - reads standard input, one text a "
        "line, as one batch",
    )
    add_pair(parser)
    add_encoding(parser, "standard input")
    add_model(parser)
    add_rule_set(parser)
    add_target(parser)
    add_outputs(parser, "json")
    parser.add_argument(
        "--rows",
        metavar="N",
        type=count,
        default=20,
        help="how many modules are printed (default: %(default)s)",
    )


def _add_closed_forms(commands: Any) -> None:
    """Add ``lrp-hooks closed-forms``."""
    parser = add_command(
        commands,
        "closed-forms",
        help="verify the closed forms of attention, gradient and LIME",
        description="Compare the closed forms of a one-layer attention classifier "
        "with autograd and with LIME, and show their errors. It needs no model; of one "
        "of yours it shows every form's scores of a text as well.",
        epilog="""examples:
  lrp-hooks closed-forms
  lrp-hooks closed-forms --json errors.json
  lrp-hooks closed-forms --model classifier.safetensors --text "not bad at all\"""",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="a classifier that closed_form.save_classifier wrote "
        "(default: one with random weights)",
    )
    parser.add_argument("--text", metavar="TEXT", help="what that classifier is shown")
    add_outputs(parser, "json")


def _add_serve(commands: Any) -> None:
    """Add ``lrp-hooks serve``."""
    parser = add_command(
        commands,
        "serve",
        help="explain texts and answers on a page of your own machine",
        description="Open a page on which texts, and a language model's answers, are "
        "explained. It is served to this machine alone, until Ctrl-C.",
        epilog="""examples:
  lrp-hooks serve
  lrp-hooks serve --model path/to/model --port 8123""",
    )
    add_model(parser)
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="where to listen (default: %(default)s, this machine alone)",
    )
    parser.add_argument(
        "--port",
        metavar="N",
        type=port,
        default=8000,
        help="the port; 0 takes any that is free (default: %(default)s)",
    )


def _add_completion(commands: Any) -> None:
    """Add ``lrp-hooks completion``."""
    parser = add_command(
        commands,
        "completion",
        help="print a script that completes commands in bash or zsh",
        description="Print what a shell reads to complete commands, options and files.",
        epilog="""examples:
  lrp-hooks completion bash > ~/.local/share/bash-completion/completions/lrp-hooks
  lrp-hooks completion zsh > ~/.zfunc/_lrp-hooks  # of a folder in fpath""",
    )
    parser.add_argument("shell", choices=("bash", "zsh"), help="which shell")


def _listed(title: str, names: Sequence[str]) -> str:
    """Return the names of what may be chosen, in lines of a terminal."""
    lines = textwrap.wrap(", ".join(names), 76, break_on_hyphens=False)
    return "\n  ".join([f"{title}:", *lines]) + "\n"
