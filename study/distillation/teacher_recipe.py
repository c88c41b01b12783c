"""What a teacher is and how it is trained, as data: read and checked before torch is imported."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Block = Literal["bottleneck", "basic"]
Stem = Literal["imagenet", "cifar"]

BLOCKS: tuple[Block, ...] = ("bottleneck", "basic")
STEMS: tuple[Stem, ...] = ("imagenet", "cifar")
RESNET_50 = (3, 4, 6, 3)

# Raised whenever the same recipe would lead to another teacher, or be stored otherwise.
FORMAT = 1


class TeacherError(ValueError):
    """A teacher that cannot be had; the message names the value and the mend, in one line."""


@dataclass(frozen=True)
class TeacherRecipe:
    """A residual network of torchvision's family, and how it is trained.

    Training is SGD with Nesterov momentum on the cross-entropy, its learning rate on one cycle.

    Attributes:
        depths: Residual blocks of the four stages; (3, 4, 6, 3) is ResNet-50.
        block: "bottleneck" (three convolutions, ResNet-50) or "basic" (two, ResNet-18 and 34).
        stem: "imagenet" (7x7 convolution of stride 2, then pooling) or "cifar" (3x3 convolution
            of stride 1, no pooling).
        width_per_group: Inner width of a bottleneck of the first stage; 64 in ResNet-50.
        weights: None starts from random weights, "imagenet" from torchvision's
            IMAGENET1K_V2 weights of ResNet-50.
        epochs: Passes over the train split; 0 for a network that was trained elsewhere.
        batch_size: Images a step.
        learning_rate: The cycle's highest.
        weight_decay: Of convolutions and head, not of biases and normalisation.
        views: Augmented views that are repeated in turn; None for a new one every epoch.
    """

    depths: tuple[int, int, int, int] = RESNET_50
    block: Block = "bottleneck"
    stem: Stem = "imagenet"
    width_per_group: int = 64
    weights: Literal["imagenet"] | None = None
    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    views: int | None = None

    def __post_init__(self) -> None:
        """Check every field, and those that depend on each other."""
        object.__setattr__(self, "depths", tuple(self.depths))
        for problem in _problems(self):
            raise TeacherError(problem)

    @property
    def layers(self) -> int:
        """Weighted layers in the usual count: stem, convolutions of the blocks, head."""
        return sum(self.depths) * (3 if self.block == "bottleneck" else 2) + 2

    @property
    def title(self) -> str:
        """Name for people, such as "ResNet-50 [3,4,6,3]"."""
        depths = ",".join(map(str, self.depths))
        width = "" if self.width_per_group == 64 else f" width {self.width_per_group}"
        stem = " CIFAR stem" if self.stem == "cifar" else ""
        return f"ResNet-{self.layers} [{depths}]{width}{stem}"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {**asdict(self), "depths": list(self.depths)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "TeacherRecipe":
        """The recipe that `to_json` wrote.

        Raises:
            TeacherError: A field is missing, unknown or out of range.
        """
        odd = {field.name for field in fields(cls)} ^ set(body)
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
    problems = []
    depths: tuple[Any, ...] = recipe.depths
    if len(depths) != 4 or not all(_whole(blocks, 1) for blocks in depths):
        problems.append(
            f"teacher depths {list(recipe.depths)} are not four stages of one block or more; "
            "[3, 4, 6, 3] is ResNet-50"
        )
    if recipe.block not in BLOCKS:
        problems.append(f"teacher block {recipe.block!r} is unknown; choose {', '.join(BLOCKS)}")
    if recipe.stem not in STEMS:
        problems.append(f"teacher stem {recipe.stem!r} is unknown; choose {', '.join(STEMS)}")
    for name, value, least in (
        ("width per group", recipe.width_per_group, 1),
        ("epochs", recipe.epochs, 0),
        ("batch size", recipe.batch_size, 2),
        ("views", recipe.views, 1),
    ):
        if value is not None and not _whole(value, least):
            problems.append(f"teacher {name} {value!r} is not a whole number from {least} up")
    if not recipe.learning_rate > 0:
        problems.append(f"teacher learning rate {recipe.learning_rate!r} is not above 0")
    if not recipe.weight_decay >= 0:
        problems.append(f"teacher weight decay {recipe.weight_decay!r} is below 0")
    if recipe.block == "basic" and recipe.width_per_group != 64:
        problems.append(
            f"teacher width per group {recipe.width_per_group} needs bottleneck blocks; "
            "basic blocks have 64"
        )
    return problems or _weights_problems(recipe)


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _weights_problems(recipe: TeacherRecipe) -> list[str]:
    if recipe.weights not in (None, "imagenet"):
        return [f"teacher weights {recipe.weights!r} are unknown; choose none or imagenet"]
    shape = (recipe.depths, recipe.block, recipe.stem, recipe.width_per_group)
    if recipe.weights == "imagenet" and shape != (RESNET_50, "bottleneck", "imagenet", 64):
        return [
            f"ImageNet weights fit ResNet-50 [3,4,6,3], not {recipe.title}; "
            "use --teacher-weights none"
        ]
    return []
