"""The teacher as a network: how a recipe builds it, its ImageNet weights, what identifies it."""

import contextlib
import hashlib
import pickle
import sys
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import Inception_V3_Weights, ResNet50_Weights
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from search_spaces.networks import dense, inception, mnist_cnn
from study.distillation.teacher_recipe import (
    Network,
    TeacherError,
    TeacherRecipe,
    check_images,
)

Shape = tuple[int, int, int]

_IMAGENET: dict[Network, ResNet50_Weights | Inception_V3_Weights] = {
    "resnet": ResNet50_Weights.IMAGENET1K_V2,
    "inception": Inception_V3_Weights.IMAGENET1K_V1,
}
# Layers that answer the classes of ImageNet.
_HEADS = ("fc.", "AuxLogits.fc.")


def build_network(
    recipe: TeacherRecipe, num_classes: int, shape: Shape, *, auxiliary: bool = False
) -> nn.Module:
    """The recipe's architecture with random weights; the caller seeds torch.

    Args:
        recipe: Names the network.
        num_classes: Of the data.
        shape: `(h, w, c)` of an image.
        auxiliary: With the auxiliary head that only training needs, where the network has one; to
            be dropped with `drop_auxiliary_head`.

    Returns:
        A network from `(batch, c, h, w)` float to logits `(batch, classes * subclasses)`; with an
        auxiliary head, in train mode, to a named tuple of its and the head's.

    Raises:
        TeacherError: The network cannot see images of that shape.
    """
    check_images(recipe, shape)
    outputs = num_classes * recipe.subclasses
    if recipe.network == "inception":
        return inception.build(
            shape,
            outputs,
            recipe.input_size,
            auxiliary=auxiliary,
            imagenet_input=recipe.weights == "imagenet",
        )
    if recipe.network == "dense":
        return dense.build(shape, recipe.hidden, outputs)
    if recipe.network == "mnist_cnn":
        return mnist_cnn.build(shape, outputs)
    if recipe.network == "resnet":
        return _resnet(recipe, outputs, shape[2])
    raise TeacherError(f"no teacher network {recipe.network!r}")


def _resnet(recipe: TeacherRecipe, outputs: int, channels: int) -> nn.Module:
    network = ResNet(
        Bottleneck if recipe.block == "bottleneck" else BasicBlock,
        list(recipe.depths),
        num_classes=outputs,
        width_per_group=recipe.width_per_group,
    )
    if recipe.stem == "cifar":
        network.conv1 = _stem(channels, kernel=3, stride=1)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = _stem(channels, kernel=7, stride=2)
    module: nn.Module = network
    return module


def drop_auxiliary_head(network: nn.Module) -> None:
    """Leave out the head that only training needs, if the network has one."""
    if isinstance(network, inception.Inception):
        network.drop_auxiliary_head()


def build_teacher(
    recipe: TeacherRecipe, num_classes: int, shape: Shape, *, auxiliary: bool = False
) -> nn.Module:
    """A teacher before its first epoch: ImageNet weights if the recipe asks for them.

    The head is always new, and so is that of an auxiliary head. A grey image stands for three
    equal channels, so the stem's weights of a ResNet are summed over them; any other number of
    channels gets a new stem.

    Args:
        recipe: As for `build_network`.
        num_classes: Likewise.
        shape: Likewise.
        auxiliary: Likewise.

    Raises:
        TeacherError: The ImageNet weights are neither on the disk nor to be downloaded.
    """
    network = build_network(recipe, num_classes, shape, auxiliary=auxiliary)
    channels = shape[2]
    if recipe.weights is None:
        return network
    published = imagenet_weights(recipe.network)
    state = {name: t for name, t in published.items() if not name.startswith(_HEADS)}
    if recipe.network == "resnet" and channels == 1:
        state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    elif recipe.network == "resnet" and channels != 3:
        del state["conv1.weight"]
    network.load_state_dict(state, strict=False)
    return network


def imagenet_weights(network: Network = "resnet") -> dict[str, Tensor]:
    """State of torchvision's ImageNet weights, downloaded once to torch hub's folder.

    Args:
        network: "resnet", ResNet-50 as IMAGENET1K_V2, or "inception", Inception-v3 as V1.

    Raises:
        TeacherError: There is no network, or the file is damaged; names the ways out.
    """
    weights = _IMAGENET[network]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    instead = "or train the teacher from scratch with --teacher-weights none"
    try:
        # torch prints what it downloads; standard output belongs to the caller.
        with contextlib.redirect_stdout(sys.stderr):
            state: dict[str, Tensor] = weights.get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
    except URLError as error:
        raise TeacherError(
            f"the ImageNet weights cannot be downloaded from {weights.url} ({error.reason}); "
            f"run once with a network, or put that file at {file}, {instead}"
        ) from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise TeacherError(
            f"the ImageNet weights at {file} cannot be read ({reason}); "
            f"delete the file to download it again, {instead}"
        ) from error
    return state


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of a network's state: names, types, shapes and values, whatever the layout."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {list(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def parameters_m(model: nn.Module) -> float:
    """Parameters in millions."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def _stem(channels: int, *, kernel: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, 64, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
