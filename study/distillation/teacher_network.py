"""The teacher as a network: how a recipe builds it, its ImageNet weights, what identifies it."""

import hashlib

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from search_spaces.networks import dense, mnist_cnn
from study.distillation.pretrained import PretrainedError, imagenet_state, take_over
from study.distillation.teacher_recipe import TeacherError, TeacherRecipe

Shape = tuple[int, int, int]

_RESNET_50 = "resnet50"
_INSTEAD = "train the teacher from scratch with --teacher-weights none"


def build_network(recipe: TeacherRecipe, num_classes: int, shape: Shape) -> nn.Module:
    """The recipe's architecture with random weights; the caller seeds torch.

    Args:
        recipe: Names the network.
        num_classes: Of the data.
        shape: `(h, w, c)` of an image.

    Returns:
        A network from `(batch, c, h, w)` float to logits `(batch, classes * subclasses)`.
    """
    outputs = num_classes * recipe.subclasses
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


def build_teacher(recipe: TeacherRecipe, num_classes: int, shape: Shape) -> nn.Module:
    """A teacher before its first epoch: ImageNet weights if the recipe asks for them.

    The head is always new. A grey image stands for three equal channels, so the stem's weights
    are summed over them; any other number of channels gets a new stem.

    Raises:
        TeacherError: The ImageNet weights are neither on the disk nor to be downloaded.
    """
    network = build_network(recipe, num_classes, shape)
    if recipe.weights is not None:
        try:
            take_over(network, _RESNET_50, _INSTEAD, shape[2])
        except PretrainedError as error:
            raise TeacherError(str(error)) from error
    return network


def imagenet_weights() -> dict[str, Tensor]:
    """State of ResNet-50 as torchvision's IMAGENET1K_V2, downloaded once to torch hub's folder.

    Raises:
        TeacherError: There is no network, or the file is damaged; names the ways out.
    """
    try:
        return imagenet_state(_RESNET_50, _INSTEAD)
    except PretrainedError as error:
        raise TeacherError(str(error)) from error


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
