"""What is shipped of a student, where that is less than what is trained.

A student may be trained with parts that no user of it needs, such as classifiers behind its early
stages. It then has a method `deployed`, which returns the network that is shipped. That network is
measured, scored, kept and confirmed; the parts are a matter of the training alone.
"""

from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Exits(Protocol):
    """A student that is shipped as any one of several networks, its exits, trained together."""

    @property
    def exits(self) -> tuple[int | str, ...]:
        """Their names: the values of the trial parameter `exit`."""
        ...

    @property
    def exit(self) -> int | str:
        """The one that the trial is judged by."""
        ...

    def answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """The logits of every exit, in the order of `exits`."""
        ...

    def deployed(self, leave_at: int | str | None = None) -> nn.Module:
        """One exit and what leads there, sharing its weights; None for the one that is judged."""
        ...


def deployed(student: nn.Module, leave_at: int | str | None = None) -> nn.Module:
    """The network that is shipped of a student: itself, unless it has a method `deployed`.

    Args:
        student: As it is trained.
        leave_at: Which of its exits, for a student that has some; None for the one it is judged by.
    """
    # Not `hasattr` alone: a user's module may have a submodule of that name.
    strip: Any = getattr(student, "deployed", None)
    if strip is None or isinstance(strip, nn.Module):
        return student
    return cast(nn.Module, strip() if leave_at is None else strip(leave_at))
