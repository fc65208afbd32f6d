"""Tasks: what a model's output means, and what of it is explained by default."""

from .asked import Posed
from .kinds import Task, task_of
from .posing import pose

__all__ = ["Posed", "Task", "pose", "task_of"]
