"""The parts of a space's declaration beside its parameters: scores, presets, tables, teachers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from search_spaces.parameters import Params


@dataclass(frozen=True)
class Objective:
    """One thing a study optimises."""

    key: str
    label: str
    unit: str
    direction: Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Score:
    """What tells a good student from a bad one; larger is better.

    ``best`` is what counts as perfect: the most there is, or for an unbounded score a value that
    nothing is expected to reach. A hypervolume is measured up to it.
    """

    name: str
    unit: str
    best: float


ACCURACY = Score("accuracy", "%", 100.0)
WEIGHTED_F1 = Score("weighted F1", "%", 100.0)
PSNR = Score("PSNR", "dB", 50.0)

LATENCY = Objective("latency_ms", "latency (batch 1)", "ms", "minimize")
# What a study may be asked to keep small beside the latency, by the name it is asked by.
THIRD_OBJECTIVES: Mapping[str, Objective] = {
    "params": Objective("params_m", "parameters", "M", "minimize"),
    "flops": Objective("flops_m", "FLOPs", "M", "minimize"),
}


@dataclass(frozen=True)
class Preset:
    """A published configuration, tried as a seed point; ``params`` override the defaults."""

    label: str
    params: Params
    published: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class PublishedColumn:
    """A column of a published table. ``key`` is one of score, train_seconds, time_ratio."""

    key: str
    label: str
    unit: str


@dataclass(frozen=True)
class PublishedTable:
    """The table of the paper that a preset reproduces."""

    source: str
    columns: tuple[PublishedColumn, ...]
    note: str | None = None


@dataclass(frozen=True)
class TeacherChoice:
    """The teacher a space declares for a data set: its network and how it is trained.

    The fields are those of :class:`study.distillation.teacher_recipe.TeacherRecipe`, which says
    what each means; ``why`` is for people. ``weights`` may be asked for otherwise, and from random
    ones all of the network learns from the start.
    """

    network: Literal["resnet", "dense", "mnist_cnn", "inception"] = "resnet"
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    block: Literal["bottleneck", "basic"] = "bottleneck"
    hidden: tuple[int, ...] = (1200, 1200)
    input_size: int | None = None
    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    optimizer: Literal["sgd", "adam"] = "sgd"
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    subclasses: int = 1
    subclass_weight: float = 1.0
    subclass_temperature: float = 1.0
    weights: Literal["imagenet"] | None = None
    unfreeze: Literal["fc", "layer4", "all"] = "all"
    head_share: float = 0.0
    rate_after_head: float = 1.0
    why: str = ""


@dataclass(frozen=True)
class Defaults:
    """How much a study of the space does on a data set unless told otherwise.

    ``image_size`` is the side in pixels that images are brought to; None keeps their own.
    """

    trials: int
    max_epochs: int
    views: int
    image_size: int | None = None
