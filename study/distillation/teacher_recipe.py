"""What a teacher is and how it is trained, as data: read and checked before torch is imported."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any, Literal, get_args

from study.distillation.transfer import Part, Transfer, TransferError

Network = Literal["resnet", "dense", "mnist_cnn", "inception"]
Block = Literal["bottleneck", "basic"]
Stem = Literal["imagenet", "cifar"]
Optimizer = Literal["sgd", "adam"]
Schedule = Literal["onecycle", "cosine", "constant"]
Statistics = Literal["data", "imagenet"]

NETWORKS: tuple[Network, ...] = get_args(Network)
BLOCKS: tuple[Block, ...] = get_args(Block)
STEMS: tuple[Stem, ...] = get_args(Stem)
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
STATISTICS: tuple[Statistics, ...] = get_args(Statistics)
# Of a channel (red, green, blue), in shares of white, as torchvision has them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET_50 = (3, 4, 6, 3)
# The least that Inception-v3 can halve as often as it does.
SMALLEST_INCEPTION_INPUT = 75

# Raised whenever the same recipe would lead to another teacher, or be stored otherwise.
FORMAT = 2
# In a kept teacher's folder: that it is there, and what it is.
DESCRIPTION_FILE = "teacher.json"


class TeacherError(ValueError):
    """A teacher that cannot be had; the message names the value and the mend, in one line."""


@dataclass(frozen=True)
class TeacherRecipe:
    """A network, and how it is trained.

    Attributes:
        network: "resnet", of torchvision's family, described by the next four fields; "dense", a
            perceptron of `hidden` layers; "mnist_cnn", two convolutions and two dense layers;
            "inception", Inception-v3 fed with images enlarged to `input_size`.
        depths: Residual blocks of the four stages; (3, 4, 6, 3) is ResNet-50.
        block: "bottleneck" (three convolutions, ResNet-50) or "basic" (two, ResNet-18 and 34).
        stem: "imagenet" (7x7 convolution of stride 2, then pooling) or "cifar" (3x3 convolution
            of stride 1, no pooling).
        width_per_group: Inner width of a bottleneck of the first stage; 64 in ResNet-50.
        hidden: Units of each hidden layer of a dense network.
        input_size: Side in pixels that an Inception's images are brought to; None leaves them as
            they are.
        weights: None starts from random weights, "imagenet" from torchvision's IMAGENET1K weights
            of ResNet-50 (V2) or Inception-v3 (V1).
        statistics: Whose mean and deviation its images are normalised by: of the "data", or of
            "imagenet", as torchvision does for its weights (see `normalization`).
        epochs: Passes over the train split; 0 for a network that was trained elsewhere.
        batch_size: Images a step.
        learning_rate: The schedule's highest.
        weight_decay: Of weights, not of biases and normalisation.
        optimizer: "sgd" with Nesterov momentum, or "adam".
        schedule: Of the learning rate.
        views: Augmented views that are repeated in turn; None for a new one every epoch.
        subclasses: Logits a class, each class owning a block of columns; see `losses.class_logits`.
        subclass_weight: β, weight of the auxiliary loss that spreads examples over subclasses.
        subclass_temperature: τ of that loss.
        unfreeze, head_share, rate_after_head: Which part learns when, see `transfer.Transfer`; of
            a network that starts from random weights, all of it always.
        score: Name of what its validation score is; teachers scored by another are kept apart.
    """

    network: Network = "resnet"
    depths: tuple[int, int, int, int] = RESNET_50
    block: Block = "bottleneck"
    stem: Stem = "imagenet"
    width_per_group: int = 64
    hidden: tuple[int, ...] = (1200, 1200)
    input_size: int | None = None
    weights: Literal["imagenet"] | None = None
    statistics: Statistics = "data"
    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "onecycle"
    views: int | None = None
    subclasses: int = 1
    subclass_weight: float = 1.0
    subclass_temperature: float = 1.0
    unfreeze: Part = "all"
    head_share: float = 0.0
    rate_after_head: float = 1.0
    score: str = "accuracy"

    def __post_init__(self) -> None:
        """Check every field, and those that depend on each other."""
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for problem in _problems(self):
            raise TeacherError(problem)

    @property
    def transfer(self) -> Transfer:
        """Which part of the network learns in which epoch."""
        return Transfer(self.unfreeze, self.head_share, self.rate_after_head)

    @property
    def layers(self) -> int:
        """Weighted layers in the usual count: stem, convolutions of the blocks, head."""
        return sum(self.depths) * (3 if self.block == "bottleneck" else 2) + 2

    @property
    def title(self) -> str:
        """Name for people, such as "ResNet-50 [3,4,6,3]"."""
        split = f", {self.subclasses} subclasses a class" if self.subclasses > 1 else ""
        return self._network_title + split

    @property
    def _network_title(self) -> str:
        if self.network == "dense":
            return "dense " + "-".join(map(str, self.hidden))
        if self.network == "mnist_cnn":
            return "CNN of 2 convolutions"
        if self.network == "inception":
            return "Inception-v3" + (f" at {self.input_size} px" if self.input_size else "")
        depths = ",".join(map(str, self.depths))
        width = "" if self.width_per_group == 64 else f" width {self.width_per_group}"
        stem = " CIFAR stem" if self.stem == "cifar" else ""
        return f"ResNet-{self.layers} [{depths}]{width}{stem}"

    def normalization(
        self, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation, a channel, by which its images are normalised, in shares of white.

        A grey image has the means over ImageNet's three channels.

        Args:
            mean: Of the data, a channel.
            std: Likewise.

        Raises:
            TeacherError: ImageNet's are asked for images of other than one or three channels.
        """
        if self.statistics == "data":
            return tuple(mean), tuple(std)
        if len(mean) == 3:
            return IMAGENET_MEAN, IMAGENET_STD
        if len(mean) == 1:
            return (fmean(IMAGENET_MEAN),), (fmean(IMAGENET_STD),)
        raise TeacherError(
            f"--teacher-statistics imagenet: images of {len(mean)} channels have none; use data"
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; without what teachers had before it could be asked for."""
        body = {**asdict(self), "depths": list(self.depths), "hidden": list(self.hidden)}
        if self.statistics == "data":
            del body["statistics"]
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "TeacherRecipe":
        """The recipe that `to_json` wrote.

        Raises:
            TeacherError: A field is missing, unknown or out of range.
        """
        odd = {field.name for field in fields(cls)} ^ {*body, "statistics"}
        if odd:
            raise TeacherError(
                f"the teacher's recipe was written by another version (fields: {sorted(odd)})"
            )
        return cls(**body)


def teacher_key(recipe: TeacherRecipe, data_hash: str, seed: int) -> str:
    """16 hex digits of everything that is asked of a teacher: recipe, data and seed.

    Device and precision are left out: they move the last bits of a result, not what it is, and
    what a teacher has answered is kept by its weights.
    """
    asked = {"format": FORMAT, "recipe": recipe.to_json(), "data": data_hash, "seed": seed}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _problems(recipe: TeacherRecipe) -> list[str]:
    problems = [
        f"teacher {name} {value!r} is unknown; choose {', '.join(known)}"
        for name, value, known in (
            ("network", recipe.network, NETWORKS),
            ("block", recipe.block, BLOCKS),
            ("stem", recipe.stem, STEMS),
            ("optimizer", recipe.optimizer, OPTIMIZERS),
            ("schedule", recipe.schedule, SCHEDULES),
            ("statistics", recipe.statistics, STATISTICS),
        )
        if value not in known
    ]
    depths: tuple[Any, ...] = recipe.depths
    if len(depths) != 4 or not all(_whole(blocks, 1) for blocks in depths):
        problems.append(
            f"teacher depths {list(recipe.depths)} are not four stages of one block or more; "
            "[3, 4, 6, 3] is ResNet-50"
        )
    for name, value, least in (
        ("width per group", recipe.width_per_group, 1),
        ("epochs", recipe.epochs, 0),
        ("batch size", recipe.batch_size, 2),
        ("views", recipe.views, 1),
        ("subclasses", recipe.subclasses, 1),
        *(("hidden units", units, 1) for units in recipe.hidden),
    ):
        if value is not None and not _whole(value, least):
            problems.append(f"teacher {name} {value!r} is not a whole number from {least} up")
    if not recipe.learning_rate > 0:
        problems.append(f"teacher learning rate {recipe.learning_rate!r} is not above 0")
    if not recipe.weight_decay >= 0:
        problems.append(f"teacher weight decay {recipe.weight_decay!r} is below 0")
    if not recipe.subclass_weight >= 0:
        problems.append(f"teacher subclass weight {recipe.subclass_weight!r} is below 0")
    if not recipe.subclass_temperature > 0:
        problems.append(
            f"teacher subclass temperature {recipe.subclass_temperature!r} is not above 0"
        )
    problems += _input_problems(recipe)
    if recipe.block == "basic" and recipe.width_per_group != 64:
        problems.append(
            f"teacher width per group {recipe.width_per_group} needs bottleneck blocks; "
            "basic blocks have 64"
        )
    return problems or [*_weights_problems(recipe), *_transfer_problems(recipe)]


def check_images(recipe: TeacherRecipe, shape: tuple[int, int, int]) -> None:
    """Refuse images that are too small for the recipe's network.

    Args:
        recipe: The recipe.
        shape: `(h, w, c)` of the data's images.

    Raises:
        TeacherError: Naming what would enlarge them.
    """
    if recipe.network != "inception":
        return
    problem = _too_small(recipe.input_size or min(shape[:2]))
    if problem:
        raise TeacherError(problem)


def _input_problems(recipe: TeacherRecipe) -> list[str]:
    size = recipe.input_size
    if size is None:
        return []
    if recipe.network == "inception":
        problem = _too_small(size) if _whole(size, 1) else f"teacher input size {size!r} is no size"
        return [problem] if problem else []
    return [
        f"--teacher-size {size}: only Inception-v3 enlarges its images, not {recipe.title}; "
        "leave it out, or add --teacher-network inception"
    ]


def _too_small(side: int) -> str | None:
    if side >= SMALLEST_INCEPTION_INPUT:
        return None
    return (
        f"Inception-v3 cannot see images of {side} px; have them enlarged for it with "
        f"--teacher-size {SMALLEST_INCEPTION_INPUT} or more"
    )


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _weights_problems(recipe: TeacherRecipe) -> list[str]:
    if recipe.weights not in (None, "imagenet"):
        return [f"teacher weights {recipe.weights!r} are unknown; choose none or imagenet"]
    if recipe.weights is None or recipe.network == "inception":
        return []
    shape = (recipe.network, recipe.depths, recipe.block, recipe.stem, recipe.width_per_group)
    if shape != ("resnet", RESNET_50, "bottleneck", "imagenet", 64):
        return [
            f"ImageNet weights fit ResNet-50 [3,4,6,3] and Inception-v3, not {recipe.title}; "
            "use --teacher-weights none"
        ]
    return []


def _transfer_problems(recipe: TeacherRecipe) -> list[str]:
    try:
        transfer = recipe.transfer
    except TransferError as error:
        return [f"teacher {error}"]
    if transfer.freezes and recipe.weights is None:
        return [
            f"teacher unfreeze {recipe.unfreeze!r} and head_share {recipe.head_share:g} would hold "
            "random weights as they are; start from ImageNet weights, or let all of it learn"
        ]
    if recipe.unfreeze == "layer4" and recipe.network != "resnet":
        return [f"{recipe.title} has no layer4 to unfreeze; choose fc or all"]
    return []
