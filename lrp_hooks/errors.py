"""Every error the library raises, under one base class.

A message names the argument, what came, what is allowed and what to do next. Errors
about an argument are also ``ValueError``; errors about the state of the process or of
the model are also ``RuntimeError``.
"""

import weakref
from typing import Any

__all__ = [
    "AdditivityWarning",
    "AlreadyInstrumentedError",
    "ArgumentError",
    "CompiledModelError",
    "ConstantsWarning",
    "ConvergenceWarning",
    "GenerationInterrupted",
    "InferenceModeError",
    "LrpHooksError",
    "LrpHooksWarning",
    "ModelFolderError",
    "NonFiniteError",
    "RegistrationError",
    "RuleError",
    "SecondOrderError",
    "TargetError",
    "TextError",
    "UnknownTokensWarning",
    "UnruledError",
    "UnruledWarning",
    "UnsupportedModelError",
    "WeightGradientWarning",
]


class LrpHooksError(Exception):
    """Base class of every error raised by this library."""


class ArgumentError(LrpHooksError, ValueError):
    """An argument has a value that is not allowed."""


class TargetError(ArgumentError):
    """The target is no class, label, token or function of this model's output."""


class TextError(ArgumentError):
    """The text is empty, too long for the model, or does not fit its tokenizer."""


class ModelFolderError(ArgumentError):
    """The folder holds no model that can be loaded."""


class UnsupportedModelError(ArgumentError):
    """The method cannot work on this model; the message says why."""


class RegistrationError(ArgumentError):
    """A rule is registered under a key that is taken or that names nothing."""


class RuleError(ArgumentError):
    """A rule breaks its contract, for example by a gradient of another shape."""


class AlreadyInstrumentedError(ArgumentError):
    """The model, a part of it or a wrapper around it is instrumented already.

    Its `instrumentation` is the way out where nobody kept the handle.
    """

    def __init__(self, message: str, instrumentation: Any = None) -> None:
        """Refer to the instrumentation, without keeping it alive.

        Args:
            message: What is instrumented.
            instrumentation: The `Instrumentation` in force.
        """
        super().__init__(message)
        self._refer = None if instrumentation is None else weakref.ref(instrumentation)

    def __reduce__(self) -> Any:
        """Pickle the message alone."""
        return (type(self), self.args)

    @property
    def instrumentation(self) -> Any:
        """The `Instrumentation` in force; None once it is gone."""
        return None if self._refer is None else self._refer()


class CompiledModelError(ArgumentError):
    """A ``torch.compile``d model does not run the hooks that are attached to it."""


class InferenceModeError(LrpHooksError, RuntimeError):
    """``torch.inference_mode()`` records no graph, so there is nothing to propagate."""


class GenerationInterrupted(KeyboardInterrupt):
    """Ctrl-C came while the tokens of a text were explained.

    Attributes:
        partial: The `GenerationExplanation` of the tokens that were done, for
            ``explain_generation(..., resume=partial)``; None where there were none.
    """

    def __init__(self, message: str, partial: Any = None) -> None:
        """Keep what was done.

        Args:
            message: How much that was.
            partial: See above.
        """
        super().__init__(message)
        self.partial = partial


class NonFiniteError(LrpHooksError, ValueError):
    """A NaN or an infinity appeared; the message says in which module first."""


class SecondOrderError(LrpHooksError, RuntimeError):
    """A gradient of relevance was asked for: gates and weights are constants of it."""


class UnruledError(LrpHooksError, RuntimeError):
    """Something bends relevance and has no rule, or cuts it off (``strict=True``)."""


class LrpHooksWarning(UserWarning):
    """Base class of what this library warns of."""


class AdditivityWarning(LrpHooksWarning):
    """Scores that are not made to sum to an output were taken for parts of it."""


class ConstantsWarning(LrpHooksWarning):
    """Constants, not what was read, made most of an output."""


class ConvergenceWarning(LrpHooksWarning):
    """Scores do not sum to what they should: the integral was taken too coarsely."""


class UnruledWarning(LrpHooksWarning):
    """Names what bends relevance without a rule, or cuts it off."""


class UnknownTokensWarning(LrpHooksWarning):
    """Most of a text is unknown to the tokenizer, so the model has not read it."""


class WeightGradientWarning(LrpHooksWarning):
    """A backward pass asked for weight gradients where weights are constants."""
