"""The arguments of ``lrp-hooks generate``."""

from __future__ import annotations

from typing import Any

from .options import (
    add_beside,
    add_command,
    add_encoding,
    add_outputs,
    add_rule_set,
    add_words,
    count,
)

__all__ = ["add_generate"]


def add_generate(commands: Any) -> None:
    """Add ``lrp-hooks generate``."""
    parser = add_command(
        commands,
        "generate",
        help="show what each token that a language model writes drew on",
        description="Let a language model go on, and show for each token that it "
        "writes which earlier ones made it.",
        epilog="""examples:
  lrp-hooks generate "Once upon a time" --model path/to/model
  lrp-hooks generate "Once upon a time" --model path/to/model --words \\
      --max-new-tokens 40 --html story.html
  lrp-hooks generate "The capital of France is" --model path/to/model \\
      --continuation " Paris" --contrast " London" --json -
  lrp-hooks generate - --model path/to/model --chat < question.txt
  lrp-hooks generate "What is it?" --image it.png --model path/to/model --chat
  lrp-hooks generate --audio speech.wav --model path/to/whisper --html page.html""",
    )
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="?",
        help="the prompt; - reads standard input, all of it as one prompt",
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        required=True,
        help="a local Hugging Face folder of a language model",
    )
    add_beside(parser)
    add_encoding(parser, "standard input")
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=count,
        help="how many tokens the model writes at most (default: 20)",
    )
    parser.add_argument(
        "--continuation",
        metavar="TEXT",
        help="what follows the prompt, instead of what the model writes",
    )
    parser.add_argument(
        "--contrast",
        metavar="TOKEN",
        help="why each token rather than this one, the difference of their logits",
    )
    add_rule_set(parser)
    parser.add_argument(
        "--chat", action="store_true", help="the prompt is a user's message in a chat"
    )
    add_words(parser)
    add_outputs(parser, "html", "png", "svg", "json")
