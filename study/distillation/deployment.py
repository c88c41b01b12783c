"""What is shipped of a student, where that is not what is trained."""

from typing import Any, cast

from torch import nn


def deployed(student: nn.Module) -> nn.Module:
    """The network that is shipped of a student: itself, unless it has a method `deployed`.

    Args:
        student: As it is trained.
    """
    # Not `hasattr` alone: a user's module may have a submodule of that name.
    make: Any = getattr(student, "deployed", None)
    return student if make is None or isinstance(make, nn.Module) else cast(nn.Module, make())
