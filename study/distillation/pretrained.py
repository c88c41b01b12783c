"""ImageNet weights of torchvision: downloaded once, and fitted to other classes and channels."""

import contextlib
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import (
    Inception_V3_Weights,
    MobileNet_V2_Weights,
    ResNet50_Weights,
    WeightsEnum,
)


class PretrainedError(ValueError):
    """Weights that cannot be had; the message names the ways out."""


@dataclass(frozen=True)
class Pretrained:
    """A network whose ImageNet weights there are.

    Attributes:
        weights: Which of torchvision's.
        stem: Name of its first weight, which sees the channels; None if the network makes three
            of however many there are.
        heads: What the names of the layers begin with that answer the classes.
        spare: What the names begin with of a part that it may have been built without.
    """

    weights: WeightsEnum
    stem: str | None
    heads: tuple[str, ...]
    spare: str | None = None


PRETRAINED = {
    "resnet50": Pretrained(ResNet50_Weights.IMAGENET1K_V2, "conv1.weight", ("fc.",)),
    "mobilenet_v2": Pretrained(
        MobileNet_V2_Weights.IMAGENET1K_V2, "features.0.0.weight", ("classifier.",)
    ),
    "inception_v3": Pretrained(
        Inception_V3_Weights.IMAGENET1K_V1, None, ("fc.", "AuxLogits.fc."), spare="AuxLogits."
    ),
}


def imagenet_state(name: str, instead: str) -> dict[str, Tensor]:
    """The state of a network after ImageNet, downloaded once to torch hub's folder.

    Args:
        name: A key of `PRETRAINED`.
        instead: What to do without them, for the message.

    Raises:
        PretrainedError: There is no network, or the file is damaged.
    """
    weights = PRETRAINED[name].weights
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        # torch prints what it downloads; standard output belongs to the caller.
        with contextlib.redirect_stdout(sys.stderr):
            state: dict[str, Tensor] = weights.get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
    except URLError as error:
        raise PretrainedError(
            f"the ImageNet weights cannot be downloaded from {weights.url} ({error.reason}); "
            f"run once with a network, or put that file at {file}, or {instead}"
        ) from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise PretrainedError(
            f"the ImageNet weights at {file} cannot be read ({reason}); "
            f"delete the file to download it again, or {instead}"
        ) from error
    return state


def take_over(network: nn.Module, name: str, instead: str, channels: int) -> None:
    """Have a network begin with ImageNet weights; its head stays as it is.

    A grey image stands for three equal channels, so the stem's weights are summed over them; for
    any other number of channels the stem stays new, too.

    Args:
        network: Of that architecture; changed.
        name: A key of `PRETRAINED`.
        instead: What to do without them, for the message.
        channels: Of an image.

    Raises:
        PretrainedError: The weights cannot be had, or are not of this network.
    """
    known = PRETRAINED[name]
    state = imagenet_state(name, instead)
    own = network.state_dict().keys()
    left_out = known.heads
    if known.spare is not None and not any(key.startswith(known.spare) for key in own):
        left_out = (*left_out, known.spare)
    state = {key: value for key, value in state.items() if not key.startswith(left_out)}
    if known.stem is not None and channels == 1:
        state[known.stem] = state[known.stem].sum(dim=1, keepdim=True)
    elif known.stem is not None and channels != 3:
        del state[known.stem]
    try:
        found = network.load_state_dict(state, strict=False)
        absent = (name for name in found.missing_keys if not name.startswith(known.heads))
        # Counters that weights of older versions lack; nothing here reads them.
        absent = (name for name in absent if not name.endswith("num_batches_tracked"))
        odd = [*found.unexpected_keys, *(name for name in absent if name != known.stem)]
    except RuntimeError as error:  # of other shapes
        odd = [str(error).splitlines()[-1].strip()]
    if odd:
        raise PretrainedError(
            f"the ImageNet weights of {name} do not fit a {type(network).__name__} ({odd[0]}); "
            f"{instead}"
        )
