"""What commands share on the command line."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = [
    "BIASES",
    "add_beside",
    "add_command",
    "add_data",
    "add_encoding",
    "add_engine",
    "add_model",
    "add_outputs",
    "add_pair",
    "add_reading",
    "add_rule_set",
    "add_stride",
    "add_target",
    "add_text",
    "add_words",
    "count",
    "overlap",
    "port",
]

BIASES = ("site", "equal", "first", "abs")
"""How ``lrp@BIAS`` and ``--complete`` give back what biases and positions took."""


def add_command(
    commands: Any, name: str, help: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command; its epilog is shown as it is written."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_text(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add the text that is explained."""
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="?" if optional else None,
        help="the text; - reads standard input, one text a line",
    )
    add_pair(parser)
    add_encoding(parser)


def add_pair(parser: argparse.ArgumentParser) -> None:
    """Add ``--text-pair``."""
    parser.add_argument(
        "--text-pair",
        metavar="TEXT",
        help="the second text of a pair, such as a question's context; with - that of "
        "each line",
    )


def add_encoding(parser: Any, of: str = "standard input, and of files") -> None:
    """Add ``--encoding``."""
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        type=encoding,
        help=f"of {of}, such as latin-1 (default: UTF-8)",
    )


def add_reading(parser: Any) -> None:
    """Add ``--sep``: how a table of text is written."""
    parser.add_argument(
        "--sep",
        metavar="CHAR",
        type=separator,
        help=r"what stands between values, such as ';' or '\t' (default: a comma in "
        ".csv, a tab in .tsv)",
    )


def add_beside(parser: argparse.ArgumentParser) -> None:
    """Add ``--image`` and ``--audio``."""
    for name, what in (("image", "picture"), ("audio", "sound")):
        parser.add_argument(
            f"--{name}",
            metavar="FILE",
            help=f"a {what} for a model that reads some, with a text or without",
        )


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add ``--words``."""
    parser.add_argument(
        "--words", action="store_true", help="merge the parts of words to words"
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add a data file, its columns, and where its explanations go."""
    group = parser.add_argument_group("a data set instead of a text")
    for name, metavar, help in (
        ("data", "FILE", "texts, one a row: .parquet, .csv, .tsv or .jsonl"),
        ("out", "DIR", "parquet files; the same command goes on where it stopped"),
        ("text", "COLUMN", "of texts (default: text or sentence)"),
        ("label", "COLUMN", "of labels that are explained (default: the prediction)"),
    ):
        dest = {"text": "column"}.get(name, name)
        group.add_argument(f"--{name}", metavar=metavar, dest=dest, help=help)
    group.add_argument(
        "--batch-size",
        metavar="N",
        type=count,
        help="explain N texts together (default: as many as 1024 tokens)",
    )
    add_reading(group)
    add_engine(group)


def add_engine(parser: Any) -> None:
    """Add where portions of data are worked on."""
    parser.add_argument(
        "--workers",
        metavar="N",
        type=count,
        default=1,
        help="processes of one thread each (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where they run: this machine, or a Ray cluster (default: %(default)s)",
    )
    parser.add_argument(
        "--address",
        metavar="A",
        help="the cluster's (default: the one that Ray finds, or one started here)",
    )


def add_rule_set(parser: argparse.ArgumentParser) -> None:
    """Add ``--rules``, with the default set."""
    parser.add_argument(
        "--rules",
        metavar="NAME",
        default="conservative",
        help="a rule set (default: %(default)s)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``."""
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="a local Hugging Face folder (default: the embedded sentiment model)",
    )


def add_target(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add ``--target``, of ``several`` a list; and ``--contrast``."""
    parser.add_argument(
        "--target",
        metavar="LABEL",
        action="append" if several else "store",
        help="a label or class id (default: the prediction); WORD:LABEL or entities "
        "for a label at a token, start, end or FIRST:LAST for an answer, a token or "
        "POSITION:TOKEN for a mask" + "; again for another one beside it" * several,
    )
    parser.add_argument(
        "--contrast",
        metavar=("A", "B"),
        nargs=2,
        help="instead: why A rather than B, the difference of their logits",
    )


def add_outputs(parser: argparse.ArgumentParser, *kinds: str) -> None:
    """Add an option for each kind of file: ``--html`` for ``"html"``."""
    for kind in kinds:
        where = ", or - for standard output" * (kind == "json")
        help = f"write {kind.upper()}{where}"
        parser.add_argument(f"--{kind}", metavar="FILE", help=help)


def add_stride(parser: argparse.ArgumentParser) -> None:
    """Add ``--stride``."""
    parser.add_argument(
        "--stride",
        metavar="N",
        type=overlap,
        help="read a text that is too long for the model in windows that have N tokens "
        "in common (default: refuse it)",
    )


def count(text: str) -> int:
    """Return a number of things, one at least."""
    return _whole(text, 1)


def overlap(text: str) -> int:
    """Return a number of things that windows have in common."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    """Return a number.

    Raises:
        ArgumentTypeError: If it is no whole one, or too small.
    """
    plain = text.isascii() and text.isdecimal() and len(text) < 10
    if not plain or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)


def separator(text: str) -> str:
    """Return a character that separates values.

    Raises:
        ArgumentTypeError: If it is none, or more than one.
    """
    character = {r"\t": "\t", "tab": "\t"}.get(text, text)
    if len(character) != 1 or character in '\r\n"':
        raise argparse.ArgumentTypeError(
            f"{text!r} is no single character; write ';' or '\\t', for example"
        )
    return character


def encoding(text: str) -> str:
    """Return the name of an encoding of texts.

    Raises:
        ArgumentTypeError: If there is none of that name.
    """
    try:
        "".encode(text)
    except (LookupError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no encoding of texts; write utf-8, latin-1 or utf-16, for "
            "example"
        ) from error
    return text


def port(text: str) -> int:
    """Return the number of a port.

    Raises:
        ArgumentTypeError: If there is none of that number.
    """
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, from 0 to 65535")
    return number
