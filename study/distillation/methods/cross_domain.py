"""Two autoencoders that teach each other: encoders of one copy decoders of the other.

After Chavhan, "Knowledge Distillation", the experiment on paired images. There is no teacher, and
no network is frozen: features of both sides move towards each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from study.distillation.losses import feature_distance
from study.distillation.methods.base import MethodError, combined, number

Adapter = Literal["maxpool", "conv"]
ADAPTERS: tuple[Adapter, ...] = ("maxpool", "conv")
STAGES = 4


@dataclass(frozen=True)
class CrossDomain:
    """`(1-α) · (|O1 - Y| + |O2 - X|) + α · Σ MSE(enc_i(X→Y), dec_j(Y→X))`.

    Attributes:
        connections: Pairs (i, j) of an encoder and a decoder, from 1; none for the control, of
            which only `|O1 - Y| + |O2 - X|` is left.
        alpha: α; at 0 no feature is looked at.
        mirrored: Whether `enc_i(Y→X)` and `dec_j(X→Y)` are compared too, and added.
        adapter: What takes the one row and column off a decoder's maps.
    """

    connections: tuple[tuple[int, int], ...] = ()
    alpha: float = 0.0
    mirrored: bool = False
    adapter: Adapter = "maxpool"

    @property
    def weight(self) -> float:
        """α, or 0 where nothing is connected."""
        return self.alpha if self.connections else 0.0

    def loss(
        self,
        outputs: tuple[Tensor, Tensor],
        targets: tuple[Tensor, Tensor],
        features: Sequence[tuple[Tensor, Tensor]],
    ) -> dict[str, Tensor]:
        """The total as `"loss"`, and its terms, unweighted and detached.

        Args:
            outputs: O1 and O2, `(batch, channels, height, width)`.
            targets: Y and X, of the same shape.
            features: Of each connection the encoder's maps and the adapted decoder's; those of
                the mirrored pairs behind them.
        """
        weight = self.weight
        return combined(
            ("images", 1 - weight, lambda: absolute_error(outputs, targets)),
            ("features", weight, lambda: squared_distance(features)),
        )


def absolute_error(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """`Σ |O - target|`, each the mean over images, channels and pixels."""
    pairs = zip(outputs, targets, strict=True)
    first, *rest = [functional.l1_loss(output, target) for output, target in pairs]
    return sum(rest, first)


def squared_distance(features: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """`Σ MSE(a, b)` over the pairs, each the mean over all numbers of a map.

    Raises:
        ValueError: The maps of a pair differ in shape, or there is no pair.
    """
    for encoded, decoded in features:
        if encoded.shape != decoded.shape:
            raise ValueError(f"features are {tuple(encoded.shape)} and {tuple(decoded.shape)}")
    if not features:
        raise ValueError("there are no features to compare")
    return feature_distance([encoded for encoded, _ in features], [into for _, into in features])


def make_adapter(kind: Adapter, channels: int) -> nn.Module:
    """Make what brings `(batch, channels, h + 1, w + 1)` to `(batch, channels, h, w)`.

    Args:
        kind: `maxpool`, the largest of each 2x2 window, or `conv`, a learnt 2x2 convolution
            without padding.
        channels: Of the maps.
    """
    if kind == "maxpool":
        return nn.MaxPool2d(2, stride=1)
    return nn.Conv2d(channels, channels, kernel_size=2, stride=1, padding=0)


def from_params(params: Mapping[str, Any]) -> CrossDomain:
    """The method of a trial's parameters.

    Args:
        params: `connections` as pairs of an encoder and a decoder, `"1-4"` or `"1-4+2-3"`, or
            `"none"`, with which nothing else is read; `alpha` from 0 to 1; `mirrored`; `adapter`.

    Raises:
        MethodError: A parameter is missing or outside its range.
    """
    text = str(params.get("connections", "none"))
    if text == "none":
        return CrossDomain()
    alpha = number(params, "alpha")
    if not 0 <= alpha < 1:
        raise MethodError(f"alpha must be from 0 to less than 1, got {alpha:g}")
    adapter = params.get("adapter", ADAPTERS[0])
    if adapter not in ADAPTERS:
        raise MethodError(f"no adapter {adapter!r}; choose {', '.join(ADAPTERS)}")
    connections = tuple(_connection(pair) for pair in text.split("+"))
    return CrossDomain(connections, alpha, bool(params.get("mirrored", False)), adapter)


def _connection(text: str) -> tuple[int, int]:
    encoder, dash, decoder = text.partition("-")
    known = [str(stage) for stage in range(1, STAGES + 1)]
    if not dash or encoder not in known or decoder not in known:
        raise MethodError(f"connection {text!r} is not ENCODER-DECODER, such as 1-4")
    if int(encoder) + int(decoder) != STAGES + 1:
        raise MethodError(
            f"encoder {encoder} and decoder {decoder} work at other scales; encoder {encoder} "
            f"goes with decoder {STAGES + 1 - int(encoder)}"
        )
    return int(encoder), int(decoder)
