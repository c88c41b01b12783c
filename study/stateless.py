"""Keeping Ray from storing what the record stores."""

from typing import Any


class StatelessForRay:
    """What Ray may pickle into the experiment state that it keeps to restore runs from.

    A study is continued from its record, never from Ray's state, so there is nothing to keep, and
    much (open files, threads, database connections) that could not be.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Give Ray nothing to store."""
        return {}
