"""A residual network that can be left after any of its four stages.

After Zhang et al., "Be Your Own Teacher" (2019), which the self-distillation of Chavhan's report
follows: behind each of the first three stages an adapter brings the feature map to the shape of the
last stage's, and a classifier of its own answers. In training all four classifiers are there; what
is shipped is one exit with the stages before it, or the ensemble of all.
"""

from collections import OrderedDict
from math import ceil

import torch
from torch import Tensor, nn

from search_spaces.networks.resnet import ResidualSpec, build

Exit = int | str
ENSEMBLE = "ensemble"
EXITS: tuple[Exit, ...] = (1, 2, 3, 4, ENSEMBLE)
_STAGES = (1, 2, 3, 4)


class MultiExit(nn.Module):
    """The whole network, as it is trained.

    `stem` and `layer1` to `layer4` are the trunk; `head1` to `head4` classify, the first three
    behind `adapter1` to `adapter3`. A training taps heads, adapters and `layer4` by these names.

    Attributes:
        exit: The exit it is judged by, one of `EXITS`.
        exits: All of them, in the order of `answers`.
    """

    exits: tuple[Exit, ...] = EXITS

    def __init__(
        self, spec: ResidualSpec, num_classes: int, channels: int = 3, leave_at: Exit = 4
    ) -> None:
        """A freshly initialised network; the caller seeds torch beforehand.

        Its weights do not depend on the exit.

        Args:
            spec: The trunk; no stage may be empty, as its exit would be the one before.
            num_classes: Outputs of every classifier.
            channels: Of an image.
            leave_at: The exit it is judged by.

        Raises:
            ValueError: A stage is empty, or there is no such exit.
        """
        super().__init__()
        if min(spec.blocks) < 1:
            raise ValueError(f"every stage needs a block to be left after, got {spec.blocks}")
        if leave_at not in EXITS:
            raise ValueError(f"no exit {leave_at!r}; choose {', '.join(map(str, EXITS))}")
        self.exit = leave_at
        trunk = dict(build(spec, num_classes, channels).named_children())
        stem = [name for name in ("conv1", "bn1", "relu", "maxpool") if name in trunk]
        self.stem = nn.Sequential(OrderedDict((name, trunk[name]) for name in stem))
        for stage in _STAGES:
            self.add_module(f"layer{stage}", trunk[f"layer{stage}"])
        last = spec.width * 8
        for stage in _STAGES[:-1]:
            self.add_module(
                f"adapter{stage}", _adapter(spec.width * 2 ** (stage - 1), last, 4 - stage)
            )
            self.add_module(f"head{stage}", _head(nn.Linear(last, num_classes)))
        self.head4 = _head(trunk["fc"])

    def forward(self, images: Tensor) -> Tensor:
        """The judged exit's logits `(batch, num_classes)`; every classifier is asked."""
        return self.answers(images)[self.exits.index(self.exit)]

    def answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """The logits of every exit, in the order of `exits`."""
        features: Tensor = self.stem(images)
        logits: list[Tensor] = []
        for stage in _STAGES:
            features = self.get_submodule(f"layer{stage}")(features)
            seen = features
            if stage < 4:
                seen = self.get_submodule(f"adapter{stage}")(features)
            logits.append(self.get_submodule(f"head{stage}")(seen))
        return (*logits, torch.stack(logits).mean(dim=0))

    def deployed(self, leave_at: Exit | None = None) -> nn.Module:
        """The network that is shipped: one exit with what leads there, and nothing else.

        It shares its modules, and so its weights, with this one.

        Args:
            leave_at: The exit; None for the one that is judged.
        """
        chosen = self.exit if leave_at is None else leave_at
        if chosen == ENSEMBLE:
            return Ensemble(self)
        last = int(chosen)
        names = ["stem", *(f"layer{stage}" for stage in _STAGES[:last])]
        names += [f"adapter{last}"] if last < 4 else []
        names.append(f"head{last}")
        return nn.Sequential(OrderedDict((name, self.get_submodule(name)) for name in names))


class Ensemble(nn.Module):
    """All exits of a network; they answer by the mean of their logits."""

    def __init__(self, network: MultiExit) -> None:
        """Take over a network's modules."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, num_classes)`."""
        return self.network.answers(images)[EXITS.index(ENSEMBLE)]


def _head(classifier: nn.Module) -> nn.Module:
    layers = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": classifier}
    return nn.Sequential(OrderedDict(layers))


def _adapter(width_in: int, width_out: int, halvings: int) -> nn.Module:
    """A bottleneck that halves a map as often as the stages it leaps over, to the last one's width.

    Padded as the stages are, it rounds sizes up as they do. The last ReLU is there because the last
    stage ends in one: the map it is compared with is never negative.
    """
    narrow = ceil(width_out / 4)
    layers = [*_convolution(width_in, narrow, kernel=1)]
    for _ in range(halvings):
        layers += _convolution(narrow, narrow, kernel=3, stride=2)
    return nn.Sequential(*layers, *_convolution(narrow, width_out, kernel=1))


def _convolution(width_in: int, width_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(width_in, width_out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(width_out), nn.ReLU(inplace=True)]
