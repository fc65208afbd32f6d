"""What a request is told when it is not served."""

from __future__ import annotations

from ..errors import LrpHooksError

__all__ = ["Refusal"]


class Refusal(LrpHooksError):
    """A request is refused; the message says in a sentence why, and what to do.

    Attributes:
        status: The HTTP status.
        retry_after: After how many seconds it is worth another try, if that helps.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        """Say why.

        Args:
            status: The HTTP status.
            message: A sentence.
            retry_after: Seconds. Defaults to ``None``: waiting does not help.
        """
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
