"""The teacher as a network: how a recipe builds it, its ImageNet weights, what identifies it."""

import hashlib

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from search_spaces.networks import dense, inception, mnist_cnn
from study.distillation.pretrained import PretrainedError, imagenet_state, take_over
from study.distillation.teacher_recipe import (
    Network,
    TeacherError,
    TeacherRecipe,
    check_images,
)

Shape = tuple[int, int, int]

# Names in `pretrained` of the networks whose ImageNet weights a teacher can begin with.
_IMAGENET: dict[Network, str] = {"resnet": "resnet50", "inception": "inception_v3"}
_INSTEAD = "train the teacher from scratch with --teacher-weights none"


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
            imagenet_input="imagenet" in (recipe.weights, recipe.statistics),
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
    if recipe.weights is not None:
        try:
            take_over(network, _IMAGENET[recipe.network], _INSTEAD, shape[2])
        except PretrainedError as error:
            raise TeacherError(str(error)) from error
    return network


def imagenet_weights(network: Network = "resnet") -> dict[str, Tensor]:
    """State of torchvision's ImageNet weights, downloaded once to torch hub's folder.

    Args:
        network: "resnet", ResNet-50 as IMAGENET1K_V2, or "inception", Inception-v3 as V1.

    Raises:
        TeacherError: There is no network, or the file is damaged; names the ways out.
    """
    try:
        return imagenet_state(_IMAGENET[network], _INSTEAD)
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
