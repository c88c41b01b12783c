"""MobileNetV2 under a ResNet-50 on images of colorectal polyps, by transfer learning.

After Sun, "Knowledge Distillation for Building Lightweight Deep Learning Models in Visual
Classification Tasks", MHIST part. Searched: the method, subclasses a class, temperature and alpha,
how much of the student is unfrozen, learning rate and batch size. The networks see images of the
size that the data has (MHIST: 224 pixels).
"""

from typing import TYPE_CHECKING

from search_spaces.distillation_parameters import SUBCLASS_METHODS
from search_spaces.space import (
    IMAGENET,
    WEIGHTED_F1,
    Choice,
    Defaults,
    Params,
    Preset,
    PublishedColumn,
    PublishedTable,
    Range,
    SearchSpace,
    TeacherChoice,
    When,
)

if TYPE_CHECKING:
    from torch import nn

# Random weights are no features: where students begin with them, all of a student learns.
_PRETRAINED = When("weights", (IMAGENET,))
_FROM_SCRATCH = When("weights", ("none",))
# 10 epochs of the head alone, then 25 at a tenth of the rate; shorter trainings in proportion.
_EPOCHS, _HEAD_SHARE, _RATE_AFTER_HEAD = 35, 10 / 35, 0.1


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Build the MobileNetV2 that ``params`` describes, with random weights.

    With ``subclasses`` it answers as many logits a class, a block of columns for each.
    """
    from search_spaces.networks.mobilenet import build

    outputs = num_classes * int(params.get("subclasses", 1))
    return build(outputs, channels=shape[2], width=float(params.get("width", 1.0)))


def describe(params: Params) -> str:
    """Name the student: ``MobileNetV2``, its width, and the subclasses of a class."""
    width, count = params.get("width", 1.0), params.get("subclasses")
    text = "MobileNetV2" if width == 1.0 else f"MobileNetV2 x{width}"
    return text if count is None else f"{text}, {count} subclasses a class"


SPACE = SearchSpace(
    name="mhist_mobilenet",
    title="MobileNetV2 on polyps, conventional and subclass distillation",
    description=(
        "A ResNet-50 that learned ImageNet teaches MobileNetV2 students to tell hyperplastic "
        "polyps from sessile serrated adenomas: by its softened classes, or by subclasses that it "
        "finds in each. Both learn their heads first, then, slower, as much of the rest as is "
        "unfrozen. Scored by weighted F1, of which always naming the larger class has 48.9 % on "
        "the test split."
    ),
    parameters=(
        *SUBCLASS_METHODS,
        Choice(
            "weights",
            (IMAGENET, "none"),
            "what students begin with: ImageNet weights, or random ones",
            searched=False,
        ),
        Choice(
            "unfreeze",
            ("layer4", "fc", "all"),
            "what learns after the head: the stage before it too, nothing more, or everything",
            when=_PRETRAINED,
        ),
        Range(
            "head_share",
            0.0,
            0.9,
            "share of the epochs in which the head learns alone; 10 of 35 in the paper",
            default_value=_HEAD_SHARE,
            when=_PRETRAINED,
            searched=False,
        ),
        Range(
            "rate_after_head",
            0.01,
            1.0,
            "factor of the learning rate once the head has learned alone",
            default_value=_RATE_AFTER_HEAD,
            when=_PRETRAINED,
            searched=False,
        ),
        Choice(
            "width",
            (1.0, 0.75, 0.5, 0.35),
            "multiplier of all channels; ImageNet weights are of 1.0",
            architecture=True,
            when=_FROM_SCRATCH,
        ),
        Range("learning_rate", 1e-4, 1e-2, "peak learning rate", log=True, default_value=1e-3),
        Choice("batch_size", (16, 32, 64), "images a step", default_value=32),
        Choice("optimizer", ("adam", "sgd"), "Adam, as in the paper, or SGD", searched=False),
        Choice(
            "schedule",
            ("constant", "cosine", "onecycle"),
            "course of the learning rate over the whole training; a phase scales it",
            searched=False,
        ),
        Choice("weight_decay", (0.0, 5e-4), "weight decay; the paper has none", searched=False),
    ),
    control={"method": "none"},
    build_student=build_student,
    describe=describe,
    presets={
        "paper": (
            Preset("Without distillation", {"method": "none"}, {"score": 71.6311}),
            Preset(
                "Conventional distillation",
                {"method": "response", "temperature": 4.0, "alpha": 0.5},
                {"score": 72.8454},
                "Taught by the class logits of the study's own teacher, which has subclasses; the "
                "published teacher of this row has none.",
            ),
            Preset(
                "Subclass distillation",
                {"method": "subclass", "subclasses": 2, "temperature": 4.0, "alpha": 0.5},
                {"score": 72.0571},
                "The number of subclasses is not printed: two a class, as on MNIST.",
            ),
        ),
    },
    published={
        "paper": PublishedTable(
            source="Sun: Knowledge Distillation for Building Lightweight Deep Learning Models in "
            "Visual Classification Tasks, table 1",
            columns=(PublishedColumn("score", "weighted F1", "%"),),
            note="The published teachers reach 82.7633 % (conventional) and 84.2726 % (subclass). "
            "Always naming the larger class has 48.9 %. All layers before the penultimate are "
            "frozen there: here the last stage and the head learn.",
        )
    },
    default_data="mhist",
    teachers={
        "*": TeacherChoice(
            epochs=_EPOCHS,
            batch_size=32,
            learning_rate=1e-4,
            weight_decay=0.0,
            optimizer="adam",
            schedule="constant",
            subclasses=2,
            weights=IMAGENET,
            unfreeze="layer4",
            head_share=_HEAD_SHARE,
            rate_after_head=_RATE_AFTER_HEAD,
        ),
    },
    teacher_varies_with="subclasses",
    defaults={"*": Defaults(trials=24, max_epochs=_EPOCHS, views=4)},
    score=WEIGHTED_F1,
    pretrained="mobilenet_v2",
)
