"""Tasks: what a model's output means, and what of it is explained by default."""

from .asked import Posed
from .choices import choice_names
from .kinds import Task, task_of
from .posing import pose

__all__ = ["Posed", "Task", "choice_names", "pose", "task_of"]
