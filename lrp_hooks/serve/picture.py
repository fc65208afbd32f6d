"""A picture explained: which of its places make a model say what it says."""

from __future__ import annotations

import base64
import binascii
import inspect
import io
from threading import Event
from typing import Any

from torch import nn

from .. import render
from ..engine.ruleset import RuleSet
from ..errors import ArgumentError
from ..explainers.explain import explain
from ..explainers.lrp import LRP
from ..render.document import isolated, styled
from ..render.record import records
from ..results.explanation_view import view
from ..support.plain_json import to_json
from ..texts.pictures import pixels_of, read_picture
from ..texts.prediction import predict
from .question import PictureQuestion
from .refusal import Refusal
from .targets import Targets
from .work import Answer, Asked, notes, stopped_backward, working

__all__ = ["Picturing"]

LARGEST = 8 * 1024 * 1024
METHODS = (
    *("lrp", "gradient_x_input", "saliency", "integrated_gradients", "smooth_grad"),
    *("attention_last", "attention_rollout", "generic_attention"),
)
"""Methods that read pixels, and need no words to take away."""
DEFAULT_RULES = inspect.signature(LRP).parameters["rules"].default


class Picturing:
    """Explains pictures: fragments of HTML, and a file to keep."""

    def __init__(self, model: nn.Module, processor: Any) -> None:
        """Look at the model, once.

        Args:
            model: A Hugging Face model of pictures in eval mode.
            processor: Its image processor.
        """
        self._model, self._processor = model, processor
        self._targets = Targets(model, None)

    def about(self) -> Answer:
        """Describe what may be asked.

        Returns:
            Names for the page's controls, and how many bytes a file may have.
        """
        return {
            "picture": {
                "labels": self._targets.labels,
                "methods": METHODS,
                "largest": LARGEST // 2,  # base64 and the rest of a request are more
            },
            "rules": RuleSet.names(),
            "default_rules": DEFAULT_RULES,
        }

    def asked(self) -> dict[str, Asked]:
        """List what may be asked.

        Returns:
            By path.
        """
        return {"/picture": Asked(PictureQuestion, self.picture, LARGEST)}

    def picture(self, question: PictureQuestion, abandoned: Event) -> Answer:
        """Explain a picture.

        Args:
            question: What is asked.
            abandoned: Stops the work once it is set.

        Returns:
            The fragment of the page that `explain` has, as ``html``; the
            ``prediction`` with all warnings; and ``json``, as ``lrp-hooks explain
            --json`` has scores.

        Raises:
            ArgumentError: If the method is none for pictures.
            Refusal: If the file is no base64.
        """
        if question.method not in METHODS:
            raise ArgumentError(
                f"method={question.method!r} is none for pictures here; it must be one "
                f"of {', '.join(map(repr, METHODS))}."
            )
        options: dict[str, Any] = {}
        if question.rules is not None:
            RuleSet.named(question.rules)
            options["rules"] = question.rules
        try:
            file = io.BytesIO(base64.b64decode(question.picture, validate=True))
        except (binascii.Error, ValueError) as error:
            raise Refusal(400, f"'picture' is no base64: {error}.") from error
        pixels = pixels_of(
            self._processor, read_picture(file, "the file"), "the picture"
        )
        with (
            working(self._model, abandoned) as warned,
            stopped_backward(self._model, abandoned),
        ):
            batch = {"pixel_values": pixels}
            target = self._targets.read(question.target, batch)
            prediction = predict(self._model, None, batch)
            found = explain(
                self._model, pixels, question.method, target=target, **options
            )
        said = "" if prediction is None else f"<p>{isolated(str(prediction))}</p>"
        return {
            "prediction": styled(said + notes(warned)),
            "html": render.fragment(found.view()),
            "json": to_json(records(view(found, whole=True))[0]).decode(),
        }
