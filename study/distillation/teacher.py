"""Teachers: trained once for a recipe, a data set and a seed, and kept for every study.

The parts: `teacher_recipe` says what is asked (no torch), `teacher_network` builds it,
`teacher_store` keeps it, `teacher_checkpoint` reads one trained elsewhere, `teacher_outputs`
asks it about every image.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from study.distillation import checkpoint
from study.distillation.image_data import ImageData
from study.distillation.measurement import device_name
from study.distillation.methods import Method
from study.distillation.methods import build as build_method
from study.distillation.methods.auxiliary import WithAuxiliary
from study.distillation.precision import Precision
from study.distillation.teacher_checkpoint import (
    CheckpointTeacher,
    inspect_checkpoint,
    load_checkpoint,
)
from study.distillation.teacher_network import (
    build_network,
    build_teacher,
    drop_auxiliary_head,
    weights_hash,
)
from study.distillation.teacher_outputs import (
    ViewedImages,
    cached_teacher_outputs,
    teacher_outputs,
)
from study.distillation.teacher_recipe import TeacherError, TeacherRecipe, teacher_key
from study.distillation.teacher_store import (
    TrainedTeacher,
    alone_in,
    is_stored,
    load_teacher,
    save_teacher,
)
from study.distillation.training import (
    Diverged,
    EpochMetrics,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)

__all__ = [
    "CheckpointTeacher",
    "TeacherError",
    "TeacherRecipe",
    "TrainedTeacher",
    "ViewedImages",
    "build_teacher",
    "cached_teacher_outputs",
    "inspect_checkpoint",
    "load_checkpoint",
    "load_teacher",
    "obtain_teacher",
    "save_teacher",
    "teacher_key",
    "teacher_outputs",
    "train_teacher",
]

logger = logging.getLogger(__name__)

OnEpoch = Callable[[EpochMetrics], None]


def obtain_teacher(
    teachers: Path,
    recipe: TeacherRecipe,
    data: ImageData,
    device: torch.device,
    seed: int,
    on_epoch: OnEpoch,
    precision: Precision = "float32",
    *,
    on_wait: Callable[[], None] | None = None,
) -> tuple[TrainedTeacher, Literal["cache", "trained"]]:
    """The teacher of this recipe, data and seed: loaded if it is kept, else trained and kept.

    It lies in `teachers`/KEY. While it is trained, its last epoch lies in
    `teachers`/KEY.training, from which an interrupted training goes on. Of several processes that
    want one teacher, one trains it and the others wait.

    Args:
        teachers: Folder of all teachers; made if missing.
        recipe: What is asked.
        data: Trained on its whole train split.
        device: Where to train.
        seed: Of weights, data order and views.
        on_epoch: Called after each epoch trained here, once it is safe on the disk; may raise to
            stop.
        precision: What to train in.
        on_wait: Called twice a second while another process trains this teacher; may raise.

    Raises:
        TeacherError: The kept one is damaged, the training diverged, or the ImageNet weights
            cannot be had.
        OSError: The disk is full, or `teachers` cannot be written, or not be read now.
    """
    folder = teachers / teacher_key(recipe, data.content_hash, seed)
    if is_stored(folder):
        return load_teacher(folder), "cache"
    training = folder.with_name(f"{folder.name}.training")
    with alone_in(training, on_wait):
        if is_stored(folder):
            return load_teacher(folder), "cache"
        teacher = train_teacher(
            recipe, data, device, seed, on_epoch, training / "training.pt", precision
        )
        save_teacher(teacher, folder)
        shutil.rmtree(training, ignore_errors=True)
    return teacher, "trained"


def train_teacher(
    recipe: TeacherRecipe,
    data: ImageData,
    device: torch.device,
    seed: int,
    on_epoch: OnEpoch,
    checkpoint_path: Path,
    precision: Precision = "float32",
) -> TrainedTeacher:
    """Train a teacher on the whole train split, going on from `checkpoint_path` if it can.

    A checkpoint of another teacher, or a damaged one, is ignored with a warning in the log. After
    the last epoch the checkpoint stays, for the caller to remove once the teacher is safe.

    Args:
        recipe: Its network and training; at least one epoch.
        data: Splits and statistics.
        device: Where to train; the teacher stays there.
        seed: Of weights, data order and views.
        on_epoch: Called after each epoch trained here, once `checkpoint_path` holds it; may
            raise to stop.
        checkpoint_path: Where the state after each epoch is kept.
        precision: What to train in.

    Returns:
        The teacher in eval mode, without an auxiliary head that only its training needed. Its
        views are others than those a student of this seed sees.

    Raises:
        TeacherError: The training diverged, or the ImageNet weights cannot be had.
        OSError: The disk is full, or the checkpoint's folder cannot be written; or a checkpoint is
            there that cannot be read (`checkpoint.UnreadableError`).
    """
    key = teacher_key(recipe, data.content_hash, seed)
    state = _interrupted(checkpoint_path, key)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = build_teacher if state is None else build_network
        model = build(recipe, data.num_classes, data.shape, auxiliary=True)
    mean, std = recipe.normalization(data.mean, data.std)
    trainer = StudentTrainer(
        model,
        teacher_method(recipe, data.num_classes),
        TrainingData(
            data.train,
            data.validation,
            mean,
            std,
            data.augmentation,
            classes=data.num_classes,
            score=recipe.score,
        ),
        None,
        _settings(recipe, seed, precision),
        device,
    )
    curve: list[EpochMetrics] = []
    if state is not None:
        trainer.load_state(state["trainer"])
        curve = [EpochMetrics(**epoch) for epoch in state["curve"]]
    while trainer.epochs_done < recipe.epochs:
        try:
            curve.append(trainer.run_epoch())
        except Diverged as error:
            raise TeacherError(
                f"the training of the teacher {recipe.title} diverged: {error}; "
                "train it with a lower learning rate, or name a checkpoint with --teacher"
            ) from error
        kept = {
            "key": key,
            "trainer": trainer.state(),
            "curve": [asdict(epoch) for epoch in curve],
        }
        checkpoint.save(checkpoint_path, kept)
        on_epoch(curve[-1])
    drop_auxiliary_head(model)
    return TrainedTeacher(
        model=model.eval(),
        recipe=recipe,
        key=key,
        seed=seed,
        data_name=data.name,
        data_hash=data.content_hash,
        classes=data.classes,
        shape=data.shape,
        mean=mean,
        std=std,
        curve=tuple(curve),
        precision=precision,
        device=device_name(device),
        weights_sha256=weights_hash(model),
    )


def _settings(recipe: TeacherRecipe, seed: int, precision: Precision) -> TrainingSettings:
    # A teacher answers more surely on pixels it was fitted to: keep its crops from the students'.
    words = hashlib.sha256(f"views of teacher {seed}".encode()).digest()
    return TrainingSettings(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        schedule=recipe.schedule,
        optimizer=recipe.optimizer,
        weight_decay=recipe.weight_decay,
        seed=seed,
        views=recipe.views or recipe.epochs,
        view_seed=int.from_bytes(words[:4], "big"),
        precision=precision,
        # The auxiliary loss of subclasses depends on the size of a batch.
        drop_last=recipe.subclasses > 1,
        transfer=recipe.transfer,
    )


def teacher_method(recipe: TeacherRecipe, num_classes: int) -> Method:
    """How a teacher is taught: by labels, and by the auxiliary loss where it has subclasses.

    An Inception's auxiliary head is taught likewise.
    """
    params: dict[str, Any] = {"method": "none"}
    if recipe.subclasses > 1:
        params = {
            "method": "subclass-teacher",
            "classes": num_classes,
            "subclass_weight": recipe.subclass_weight,
            "subclass_temperature": recipe.subclass_temperature,
        }
    method = build_method(params)
    return WithAuxiliary(method) if recipe.network == "inception" else method


def _interrupted(path: Path, key: str) -> dict[str, Any] | None:
    """What an interrupted training of this teacher left behind, if anything.

    Raises:
        checkpoint.UnreadableError: It is there, as far as can be told, and cannot be read.
    """
    checkpoint.sweep(path)
    try:
        state = checkpoint.load(path)
    except checkpoint.UnreadableError:
        raise
    except checkpoint.CheckpointError as error:
        if path.exists() or checkpoint.previous_path(path).exists():
            logger.warning("training the teacher from its start: %s", error)
        return None
    if state.get("key") != key:
        logger.warning("training the teacher from its start: %s is of another teacher", path)
        return None
    return state
