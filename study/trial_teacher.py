"""A teacher as trials ask it: its answers, computed ahead, or its network, on the worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from study.mirror import mirror_of
from study.names import TEACHERS_FOLDER

if TYPE_CHECKING:
    import torch

    from study.distillation.precision import Precision
    from study.distillation.teacher_recipe import TeacherRecipe
    from study.task import Data


@dataclass(frozen=True)
class TeacherVariant:
    """One teacher of a study, in the forms in which trials ask it.

    Attributes:
        recipe: Its network, for its latency and, live, its answers.
        outputs: Float16 logits ``(views, images, outputs)``, or None for a live teacher.
        weights: The live teacher's state dictionary as arrays, or None.
        precision: What it answers in, live.
    """

    recipe: "TeacherRecipe"
    outputs: np.ndarray[Any, Any] | None = None
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None
    precision: "Precision" = "float32"


# Of the keys of a teacher's own files, in an object store: its answers lie a folder deeper.
_TEACHER_DEPTH = 2
_NETWORKS: "dict[tuple[str, TeacherRecipe, bool], torch.nn.Module]" = {}


def teacher_network(teacher: TeacherVariant, data: "Data", study: str) -> "torch.nn.Module":
    """Return a teacher's network, built once a process; its latency needs no weights.

    Args:
        teacher: The teacher.
        data: What it sees.
        study: The study's folder. Workers outlive studies: the networks of others are let go.
    """
    import torch

    from study.distillation.teacher_network import build_network

    key = (study, teacher.recipe, teacher.weights is not None)
    if key not in _NETWORKS:
        # Not build_teacher: the first weights, a download for some, are not needed here.
        network = build_network(teacher.recipe, data.num_classes, data.shape)
        if teacher.weights is not None:
            weights = {name: torch.tensor(value) for name, value in teacher.weights.items()}
            network.load_state_dict(weights)
        for other in [other for other in _NETWORKS if other[0] != study]:
            del _NETWORKS[other]
        _NETWORKS[key] = network.eval()
    return _NETWORKS[key]


def trained_teacher(
    teacher: TeacherVariant, data: "Data", study: str, seed: int, checkpoint: str | None
) -> "torch.nn.Module":
    """Return a teacher's network as it was trained, also where trials have its answers alone.

    Args:
        teacher: The teacher.
        data: What it sees, by the content hash of all of it.
        study: The study's folder, which lies beside the folder of teachers.
        seed: Of the study.
        checkpoint: Path of one's own teacher; None for one that was trained here.

    Raises:
        study.distillation.teacher_recipe.TeacherError: if it is missing or damaged.
    """
    from study.distillation.teacher import load_checkpoint, load_teacher, teacher_key

    if teacher.weights is not None:
        return teacher_network(teacher, data, study)
    if checkpoint is not None:
        own = load_checkpoint(Path(checkpoint), data.num_classes, data.shape, teacher.recipe)
        return own.model
    key = teacher_key(teacher.recipe, data.content_hash, seed)
    folder = Path(study).parent / TEACHERS_FOLDER / key
    mirror = mirror_of(Path(study).parent)
    if mirror is not None:
        mirror.bring_all(folder, lambda path: path.count("/") == _TEACHER_DEPTH)
    return load_teacher(folder).model
