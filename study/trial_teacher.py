"""A teacher as trials ask it: its answers, computed ahead, or its network, on the worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from study.distillation.teacher_recipe import TeacherRecipe
    from study.task import Data


@dataclass(frozen=True)
class TeacherVariant:
    """One teacher of a study, in the forms in which trials ask it.

    Attributes:
        recipe: Its network, for its latency and, live, its answers.
        outputs: Float16 logits ``(views, images, outputs)``, or None for a live teacher.
        weights: The live teacher's state dictionary as arrays, or None.
    """

    recipe: "TeacherRecipe"
    outputs: np.ndarray[Any, Any] | None = None
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None


_NETWORKS: "dict[tuple[str, TeacherRecipe, bool], torch.nn.Module]" = {}


def teacher_network(teacher: TeacherVariant, data: "Data", study: str) -> "torch.nn.Module":
    """Return a teacher's network, built once a process; its latency needs no weights.

    Args:
        teacher: The teacher.
        data: What it sees.
        study: The study's folder. Workers outlive studies: the networks of others are let go.
    """
    import torch

    from study.distillation.teacher import build_teacher

    key = (study, teacher.recipe, teacher.weights is not None)
    if key not in _NETWORKS:
        network = build_teacher(teacher.recipe, data.num_classes, data.shape)
        if teacher.weights is not None:
            weights = {name: torch.tensor(value) for name, value in teacher.weights.items()}
            network.load_state_dict(weights)
        for other in [other for other in _NETWORKS if other[0] != study]:
            del _NETWORKS[other]
        _NETWORKS[key] = network.eval()
    return _NETWORKS[key]
