"""What is shipped of a student, where that is not what is trained.

A student may be trained with parts that no user of it needs, such as classifiers behind its early
stages, or in another number format. It then has a method `deployed`, which returns the network that
is shipped. That network is measured, kept and confirmed.
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


def kept(student: nn.Module) -> nn.Module:
    """The network whose weights a student's file holds.

    That is the one that is shipped, unless the student says by `deployed_anew` that it is made anew
    from what was trained, in shapes that are known only then.
    """
    return student if getattr(student, "deployed_anew", False) is True else deployed(student)
