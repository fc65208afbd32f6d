"""Tasks: what a model's output means, and what of it is explained by default."""

from .asked import Posed
from .choices import choice_names
from .kinds import Task, task_of
from .masks import mask_places
from .posing import pose
from .vocabulary import token_named

__all__ = [
    "Posed",
    "Task",
    "choice_names",
    "mask_places",
    "pose",
    "task_of",
    "token_named",
]
