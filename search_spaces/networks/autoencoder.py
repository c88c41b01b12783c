"""Two convolutional autoencoders that translate paired images, X to Y and Y to X.

Each has four encoders and four decoders, as in Chavhan, "Knowledge Distillation": decoder j makes
feature maps of the scale and the channels of encoder 5-j, but for one row and one column more. The
document prints no layers. So here a bottleneck lies below the encoders and a head above the
decoders, with which the pairs (1,4) and (2,3) meet at one scale; there are no skip connections.
"""

from dataclasses import dataclass

from torch import Tensor, nn

STAGES = 4
# Each encoder halves a side, and so does the bottleneck.
SIDE_MULTIPLE = 2 ** (STAGES + 1)


@dataclass(frozen=True, eq=False)
class Stages:
    """What one autoencoder makes of a batch whose sides are `height` and `width`.

    Attributes:
        output: The translated images, `(batch, channels, height, width)`, from -1 to 1.
        encoded: Of encoder i from 1, at i-1: `(batch, width_i, height / 2^i, width / 2^i)`.
        decoded: Of decoder j from 1, at j-1: as encoder 5-j, one row and one column larger.
    """

    output: Tensor
    encoded: tuple[Tensor, ...]
    decoded: tuple[Tensor, ...]


class Autoencoder(nn.Module):
    """Four encoders, a bottleneck, four decoders and a head: images to images.

    Encoders are 3x3 convolutions of stride 2. Decoders are their transposes: they bring n + 1
    rows to 2n + 1, one more than the encoder of that scale has, and the first, which gets n rows
    of the bottleneck, does so without padding. The head crops that row again.
    """

    def __init__(self, channels: int, width: int) -> None:
        """Draw fresh weights; the caller seeds torch.

        Args:
            channels: Of the images, in and out.
            width: Channels of encoder 1; each further encoder doubles them.
        """
        super().__init__()
        self.widths = widths = stage_widths(width)
        below = (channels, *widths[:-1])
        self.encoders = nn.ModuleList(
            _block(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False))
            for before, after in zip(below, widths, strict=True)
        )
        deepest = widths[-1]
        self.bottleneck = _block(nn.Conv2d(deepest, deepest, 3, stride=2, padding=1, bias=False))
        rising = widths[::-1]
        self.decoders = nn.ModuleList(
            _block(
                nn.ConvTranspose2d(
                    before, after, 3, stride=2, padding=0 if stage == 0 else 1, bias=False
                )
            )
            for stage, (before, after) in enumerate(
                zip((deepest, *rising[:-1]), rising, strict=True)
            )
        )
        self.head = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        """Translate `(batch, channels, height, width)` to images of that shape, from -1 to 1."""
        return self.stages(images).output

    def stages(self, images: Tensor) -> Stages:
        """Translate images, and keep what every encoder and decoder made of them."""
        encoded, decoded = [], []
        features = images
        for encode in self.encoders:
            features = encode(features)
            encoded.append(features)
        features = self.bottleneck(features)
        for decode in self.decoders:
            features = decode(features)
            decoded.append(features)
        return Stages(self.head(features).tanh(), tuple(encoded), tuple(decoded))


class TranslatorPair(nn.Module):
    """Both directions, which are trained together and have one shape each."""

    def __init__(self, channels: int, width: int) -> None:
        """Draw fresh weights; the caller seeds torch.

        Args:
            channels: Of the images.
            width: Channels of each autoencoder's encoder 1.
        """
        super().__init__()
        self.x_to_y = Autoencoder(channels, width)
        self.y_to_x = Autoencoder(channels, width)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Stages, Stages]:
        """Translate X to Y and Y to X, `(batch, channels, height, width)` each."""
        return self.x_to_y.stages(x), self.y_to_x.stages(y)

    def one_direction(self) -> Autoencoder:
        """Return the autoencoder from X to Y, whose size and latency are also the other's."""
        return self.x_to_y


def stage_widths(width: int) -> tuple[int, ...]:
    """Return the channels of encoders 1 to 4, which are those of decoders 4 to 1."""
    return tuple(width * 2**stage for stage in range(STAGES))


def size_problem(height: int, width: int) -> str | None:
    """Say why images of this size cannot be halved often enough, or nothing."""
    if height % SIDE_MULTIPLE == 0 and width % SIDE_MULTIPLE == 0:
        return None
    nearest = max(SIDE_MULTIPLE, round(min(height, width) / SIDE_MULTIPLE) * SIDE_MULTIPLE)
    return (
        f"images of {height}x{width} pixels cannot be halved {STAGES + 1} times; give a multiple "
        f"of {SIDE_MULTIPLE}, such as --image-size {nearest}"
    )


def _block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(
        convolution, nn.BatchNorm2d(convolution.out_channels), nn.LeakyReLU(0.2, inplace=True)
    )
