"""Networks with an auxiliary head: its answers are taught as those of the network, and weigh less.

So an Inception-v3 is trained; the head is dropped afterwards (Szegedy et al., 2016). A network that
is held as it is while its last layer learns does not ask its auxiliary head, which learns nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from study.distillation.methods.base import Answers, FeatureTaps, Method

# Of Inception-v3's published training code, and of what fine-tunes it since.
WEIGHT = 0.4


@dataclass(frozen=True)
class WithAuxiliary:
    """Another method's loss, plus `weight` times the same loss of the auxiliary head's answers."""

    method: Method
    weight: float = WEIGHT

    needs_network: ClassVar[bool] = False
    taps: ClassVar[FeatureTaps | None] = None

    @property
    def name(self) -> str:
        """That of the method."""
        return self.method.name

    @property
    def needs_teacher(self) -> bool:
        """Whether the method reads a teacher."""
        return self.method.needs_teacher

    def at(self, epoch: int, epochs: int) -> Self:
        """With the method as it is in an epoch."""
        return replace(self, method=self.method.at(epoch, epochs))

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        """The method's terms, `"loss"` being the sum, and the head's share of it as `"auxiliary"`.

        The method's alone where the auxiliary head was not asked.
        """
        if answers.auxiliary is None:
            return self.method.loss(answers)
        terms: Mapping[str, Tensor] = self.method.loss(answers)
        head = self.method.loss(replace(answers, logits=answers.auxiliary, auxiliary=None))["loss"]
        total = terms["loss"] + self.weight * head
        return {**terms, "loss": total, "auxiliary": head.detach()}
