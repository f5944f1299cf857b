"""What a network is for: its loss, its metric, its labels, and what a report shows of its answers; one file a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task

__all__ = ["TASKS", "Classification", "Task", "task_of"]

TASKS: dict[str, Task] = {"classify": Classification()}


def task_of(record: Mapping[str, Any]) -> Task:
    """Return the task of a run's ``report.json``; a record that names none is of classification.

    Example:
        >>> task_of({}).metric
        'accuracy'
    """
    return TASKS.get(str(record.get("task")), TASKS["classify"])
