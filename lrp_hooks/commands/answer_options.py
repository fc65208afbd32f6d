"""The arguments of ``lrp-hooks answer``."""

from __future__ import annotations

from typing import Any

from .options import add_beside, add_command, add_encoding, add_outputs, count, overlap

__all__ = ["add_answer"]


def add_answer(commands: Any) -> None:
    """Add ``lrp-hooks answer``."""
    parser = add_command(
        commands,
        "answer",
        help="show which parts of a prompt made a language model answer so",
        description="Show what each sentence of an answer drew on: the strongest "
        "sources in the prompt, and what came from the rest of it, from the answer "
        "itself and from constants.",
        epilog="""examples:
  lrp-hooks answer --model path/to/model --prompt question.txt --html page.html
  lrp-hooks answer --model path/to/model --prompt prompt.txt --answer said.txt \\
      --sources passages.jsonl --json -
  lrp-hooks answer --model path/to/model --prompt - --chat --hops 1 < question.txt
  lrp-hooks answer --model path/to/model --prompt ask.txt --image page.png --chat""",
    )
    _add_given(parser)
    _add_asked(parser)
    _add_method(parser)
    add_outputs(parser, "html", "png", "svg", "json")


def _add_given(parser: Any) -> None:
    """Add the model, the prompt and its answer."""
    parser.add_argument(
        "--model", metavar="DIR", required=True, help="a local Hugging Face folder"
    )
    parser.add_argument(
        "--prompt",
        metavar="FILE",
        required=True,
        help="the prompt; - for standard input",
    )
    parser.add_argument(
        "--answer",
        metavar="FILE",
        help="the answer, as it follows the prompt (default: the model writes it)",
    )
    add_beside(parser)
    add_encoding(parser, "these files, and of standard input")
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=count,
        help="how many tokens the model writes at most (default: 200)",
    )
    parser.add_argument(
        "--chat", action="store_true", help="the prompt is a user's message in a chat"
    )


def _add_asked(parser: Any) -> None:
    """Add what is explained by what."""
    parser.add_argument(
        "--sources",
        metavar="WHAT",
        help="sentences, paragraphs, words, tokens, or a file .jsonl of the passages "
        "that stand in the prompt (default: sentences)",
    )
    parser.add_argument(
        "--spans",
        metavar="WHAT",
        help="sentences, all, tokens, or a text in the answer (default: sentences)",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="log_probability or logit (default: log_probability)",
    )
    parser.add_argument(
        "--hops",
        metavar="N",
        type=overlap,
        help="send what reached earlier tokens of the answer on N times (default: 0)",
    )


def _add_method(parser: Any) -> None:
    """Add how it is explained."""
    parser.add_argument(
        "--rules",
        metavar="NAME",
        help="a rule set (default: between conservative and attnlrp)",
    )
    parser.add_argument(
        "--wrt",
        metavar="WHERE",
        help="where the prompt is read: tokens, or cache, which is what the answer "
        "reads of them, and cheaper (default: tokens)",
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="lrp, ablation or leave_one_out (default: lrp)",
    )
    parser.add_argument(
        "--calls", metavar="N", type=count, help="ablations to fit (default: 64)"
    )
    parser.add_argument(
        "--low-memory", action="store_true", help="run blocks again, keep less of them"
    )
