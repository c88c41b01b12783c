"""Projectors: what brings the feature maps of two networks to one shape, so they can be compared.

They are trained beside the student and are no part of it: neither its size, nor its latency, nor
its finished weights know of them.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Direction = Literal["student-to-teacher", "teacher-to-student"]
DIRECTIONS: tuple[Direction, ...] = ("student-to-teacher", "teacher-to-student")


class Projector(nn.Module):
    """Brings the maps of one network to the channels and the size of another's.

    Channels by a 1x1 convolution without bias (a linear map where features are vectors), and by
    nothing where they agree; height and width by averaging (adaptive pooling) where the target is
    smaller and by bilinear interpolation where it is larger. The convolution always sees the
    smaller map: the two commute.
    """

    def __init__(self, source: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Make the map; the caller seeds torch.

        Args:
            source: Shape of one image's feature, `(channels, height, width)` or `(channels,)`.
            target: Likewise.

        Raises:
            ValueError: One is a vector and the other a map, or they have other numbers of axes.
        """
        super().__init__()
        if len(source) != len(target) or len(source) not in (1, 3):
            raise ValueError(f"features of shape {source} cannot be brought to {target}")
        self._size = (target[1], target[2]) if len(target) == 3 else None
        self.channels: nn.Module = nn.Identity()
        if source[0] != target[0]:
            self.channels = (
                nn.Conv2d(source[0], target[0], kernel_size=1, bias=False)
                if self._size is not None
                else nn.Linear(source[0], target[0], bias=False)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Bring `(batch, *source)` to `(batch, *target)`."""
        projected: Tensor = self.channels(self._shrunk(features))
        if self._size is None or projected.shape[2:] == self._size:
            return projected
        return functional.interpolate(
            projected, size=self._size, mode="bilinear", align_corners=False
        )

    def _shrunk(self, features: Tensor) -> Tensor:
        if self._size is None or features.shape[2:] == self._size:
            return features
        height, width = self._size
        if height > features.shape[2] or width > features.shape[3]:
            return features
        return functional.adaptive_avg_pool2d(features, (height, width))
