"""Trained teachers on disk: a folder each, whole or not there at all, and checked when read."""

import json
import logging
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from study.distillation.checkpoint import out_of_reach
from study.distillation.precision import Precision
from study.distillation.teacher_network import build_network, parameters_m, weights_hash
from study.distillation.teacher_recipe import (
    DESCRIPTION_FILE,
    FORMAT,
    TeacherError,
    TeacherRecipe,
)
from study.distillation.training import EpochMetrics

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.pt"


@dataclass(frozen=True, eq=False)
class TrainedTeacher:
    """A teacher trained here, and where it comes from.

    Attributes:
        model: In eval mode; on the CPU when it was loaded.
        recipe: How it was trained.
        key: `teacher_key` of recipe, data and seed.
        seed: Of its first weights, its data order and its views.
        data_name: Name of the data set it was trained on.
        data_hash: Content hash of that.
        classes: Class names in the order of its logits.
        shape: `(h, w, c)` of the images.
        mean: Of each channel, scale 0..1: how its images are normalised.
        std: Likewise.
        curve: One entry an epoch.
        precision: What it was trained in.
        device: What it was trained on, as `measurement.device_name` says it.
        weights_sha256: Of the network's state.
    """

    model: nn.Module
    recipe: TeacherRecipe
    key: str
    seed: int
    data_name: str
    data_hash: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    curve: tuple[EpochMetrics, ...]
    precision: Precision
    device: str
    weights_sha256: str

    @property
    def val_score(self) -> float:
        """The recipe's score on the validation split after the last epoch (%)."""
        return self.curve[-1].val_score

    @property
    def train_seconds(self) -> float:
        """Seconds of training, without the validations."""
        return sum(epoch.seconds for epoch in self.curve)

    @property
    def params_m(self) -> float:
        """Parameters (M)."""
        return parameters_m(self.model)

    def describe(self) -> dict[str, Any]:
        """All but the weights, as JSON values."""
        return {
            "format": FORMAT,
            "key": self.key,
            "title": self.recipe.title,
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "data": self.data_name,
            "data_hash": self.data_hash,
            "classes": list(self.classes),
            "shape": list(self.shape),
            "mean": list(self.mean),
            "std": list(self.std),
            "val_score": self.val_score,
            "train_seconds": self.train_seconds,
            "params_m": self.params_m,
            "precision": self.precision,
            "device": self.device,
            "weights_sha256": self.weights_sha256,
            "curve": [asdict(epoch) for epoch in self.curve],
        }


def save_teacher(teacher: TrainedTeacher, folder: Path) -> None:
    """Put a teacher into `folder`, which is made in one step once all is on the disk.

    If another process was first, its teacher stays and this one is dropped: both are answers to
    the same recipe. A damaged teacher is replaced, what else lies in its folder with it.

    Raises:
        OSError: The disk is full, or the folder's parent cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        with (partial / WEIGHTS_FILE).open("wb") as file:
            torch.save(teacher.model.state_dict(), file)
            file.flush()
            os.fsync(file.fileno())
        with (partial / DESCRIPTION_FILE).open("w", encoding="utf-8") as text:
            json.dump(teacher.describe(), text, indent=1)
            text.flush()
            os.fsync(text.fileno())
        _publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_teacher(folder: Path) -> TrainedTeacher:
    """Read a teacher that `save_teacher` wrote.

    Raises:
        TeacherError: A file is missing or damaged; names it, and the mend.
        OSError: Its folder does not answer.
    """
    description = _read_description(folder / DESCRIPTION_FILE)
    path = folder / WEIGHTS_FILE
    try:
        recipe = TeacherRecipe.from_json(description["recipe"])
        shape, curve = description["shape"], description["curve"]
        model = build_network(recipe, len(description["classes"]), tuple(shape))
        teacher = TrainedTeacher(
            model=model,
            recipe=recipe,
            key=description["key"],
            seed=description["seed"],
            data_name=description["data"],
            data_hash=description["data_hash"],
            classes=tuple(description["classes"]),
            shape=(shape[0], shape[1], shape[2]),
            mean=tuple(description["mean"]),
            std=tuple(description["std"]),
            curve=tuple(EpochMetrics(**epoch) for epoch in curve),
            precision=description["precision"],
            device=description["device"],
            weights_sha256=description["weights_sha256"],
        )
    except (KeyError, IndexError, TypeError, TeacherError) as error:
        raise _damaged(folder / DESCRIPTION_FILE, f"{error} is wrong or missing") from error
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if out_of_reach(error):
            raise
        raise _damaged(path, str(error).partition("\n")[0]) from error
    if weights_hash(model) != teacher.weights_sha256:
        raise _damaged(path, "its weights do not match their checksum")
    model.eval()
    return teacher


def is_stored(folder: Path) -> bool:
    """Whether a teacher lies in `folder`, damaged or not; cheap."""
    return (folder / DESCRIPTION_FILE).exists()


@contextmanager
def alone_in(folder: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Work in `folder`, which is made, while no other process does.

    Args:
        folder: May be removed by the one who works in it.
        on_wait: Called twice a second while another does; may raise to give up.
    """
    import fcntl
    import time

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if on_wait is not None:
                    on_wait()
                time.sleep(0.5)
            except OSError as error:  # some network file systems have no locks
                logger.warning("cannot lock %s (%s); going on without", folder, error.strerror)
                break
        yield


def _publish(partial: Path, folder: Path) -> None:
    """Give the finished folder its name, unless a whole teacher has taken it."""
    for _ in range(3):
        try:
            # Replaces nothing but an empty folder.
            partial.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        try:
            load_teacher(folder)
            return
        except TeacherError as error:
            logger.warning("replacing a damaged teacher: %s", error)
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            folder.rename(aside)
        except FileNotFoundError:  # another process is replacing it, too
            continue
        shutil.rmtree(aside, ignore_errors=True)
    raise OSError(f"cannot put the teacher into {folder}: other processes keep changing it")


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if out_of_reach(error):
            raise
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise _damaged(path, reason or str(error)) from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise _damaged(path, f"it is not of format {FORMAT}")
    return description


def _damaged(path: Path, reason: str) -> TeacherError:
    return TeacherError(
        f"the stored teacher cannot be used: {path}: {reason}; "
        f"delete the folder {path.parent} to train it again"
    )
