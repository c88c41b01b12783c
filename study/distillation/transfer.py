"""Transfer learning: which part of a network learns in which epoch, and at what share of its rate.

First the head alone, on features that were learned elsewhere; then, slower, the head with as much
of the rest as is asked for. What does not learn is held as it is: no gradients, no state in the
optimiser, and batch normalisation by the statistics that it brought along.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from torch import nn

Part = Literal["fc", "layer4", "all"]
PARTS: tuple[Part, ...] = get_args(Part)


class TransferError(ValueError):
    """Transfer learning that cannot be; the message names the value."""


@dataclass(frozen=True)
class Phase:
    """What holds from one epoch to another.

    Attributes:
        part: What learns.
        rate: Factor of the learning rate.
    """

    part: Part
    rate: float


@dataclass(frozen=True)
class Transfer:
    """How a training is divided into two phases; as it is made by default, it is not.

    Attributes:
        unfreeze: What learns in the second phase: "fc", the head alone; "layer4", the last stage
            too, whose images are a 32nd of the input's side; or "all". In the first it is "fc".
        head_share: Share of the epochs in the first phase, rounded to whole epochs: 10/35 of 35
            are 10, and shorter trainings keep the proportion.
        rate_after_head: Factor of the learning rate in the second; 1 where the first has no epoch.
    """

    unfreeze: Part = "all"
    head_share: float = 0.0
    rate_after_head: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no transfer learning."""
        if self.unfreeze not in PARTS:
            raise TransferError(f"unfreeze {self.unfreeze!r} is unknown; choose {', '.join(PARTS)}")
        if not 0 <= self.head_share <= 1:
            raise TransferError(f"head_share {self.head_share:g} is no share from 0 to 1")
        if not self.rate_after_head > 0:
            raise TransferError(f"rate_after_head {self.rate_after_head:g} is not above 0")

    @property
    def freezes(self) -> bool:
        """Whether any part is ever held as it is."""
        return self.unfreeze != "all" or self.head_share > 0

    def head_epochs(self, epochs: int) -> int:
        """Epochs of the first phase of a training of `epochs`; halves are rounded up."""
        return int(self.head_share * epochs + 0.5)

    def phase(self, epoch: int, epochs: int) -> Phase:
        """The phase of an epoch.

        Args:
            epoch: From 0.
            epochs: Of the whole training.
        """
        if epoch < self.head_epochs(epochs):
            return Phase("fc", 1.0)
        # Of so few epochs that none is the head's, the head has not learnt at the full rate.
        return Phase(self.unfreeze, self.rate_after_head if self.head_epochs(epochs) else 1.0)


def transfer_of(params: Mapping[str, Any]) -> Transfer:
    """The transfer learning that a trial's parameters ask for; other keys are left alone.

    Raises:
        TransferError: A value is out of range.
    """
    names = (field.name for field in fields(Transfer))
    return Transfer(**{name: params[name] for name in names if name in params})


# A family of torchvision's is known by the names of its modules: its head, and the stage before.
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("fc", ("layer4",)),
    ("classifier", tuple(f"features.{number}" for number in range(14, 19))),
)


def learning_modules(network: "nn.Module", part: Part) -> tuple["nn.Module", ...]:
    """The outermost modules of a network that a part of it consists of.

    Args:
        network: A ResNet or MobileNetV2, with torchvision's names.
        part: What is asked for.

    Raises:
        TransferError: The network has no modules of those names.
    """
    if part == "all":
        return (network,)
    known = dict(network.named_modules())
    for head, stage in _FAMILIES:
        names = (head, *(stage if part == "layer4" else ()))
        if all(name in known for name in names):
            return tuple(known[name] for name in names)
    raise TransferError(
        f"a {type(network).__name__} has no part {part!r}: known are ResNets (fc, layer4) and "
        "MobileNetV2 (classifier, features); use unfreeze=all and head_share=0"
    )


def freeze_but(network: "nn.Module", part: Part) -> None:
    """Let a part of a network learn, in train mode, and hold the others, in eval mode.

    Only what learns requires gradients.

    Args:
        network: As `learning_modules` takes it.
        part: What learns.

    Raises:
        TransferError: The network has no such part.
    """
    learning = learning_modules(network, part)
    network.requires_grad_(False).eval()
    for module in learning:
        module.requires_grad_(True).train()
