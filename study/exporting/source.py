"""What an export starts from: a kept student, its normalisation, and images to check by."""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from analysis.results import trial_name
from analysis.stored_plan import StoredPlan
from search_spaces.catalogue import file_hash
from search_spaces.space import SearchSpace
from study.commands import keep_directory
from study.plan import PlanError, StudyPlan
from study.progress import Progress
from study.seeds import run_seed
from study.trial_context import student_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from study.task import Data

DIRECTIONS = ("x_to_y", "y_to_x")  # of the two networks of a student of pairs
_CHECKED = 512
_LONGEST_REASON = 200


def direction_in_words(direction: str) -> str:
    """Return one of :data:`DIRECTIONS` as people read it: ``X to Y``."""
    return direction.replace("_", " ").upper().replace("TO", "to")


@dataclass(frozen=True)
class Images:
    """Images to check an export by, and the statistics that students are given them with.

    Attributes:
        pixels: uint8 `(n, channels, height, width)`; None where the data set is not here.
        mean: Mean of each channel, scale 0..1.
        std: Standard deviation of each channel, scale 0..1.
        words: What they are, or why there are none, in a clause.
    """

    pixels: "Tensor | None"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    words: str


def enter_directory(document: Mapping[str, Any]) -> None:
    """Go where a study was started: relative paths in its plan begin there."""
    directory = Path(document.get("directory", "."))
    if directory.is_dir():
        keep_directory()
        os.chdir(directory)
        sys.path.insert(0, str(directory))


def space_change(stored: StoredPlan, space: SearchSpace) -> str | None:
    """Say in a clause that a space is not what it was when a study was planned, or nothing.

    Args:
        stored: The study's plan.
        space: Its space as it is now, with ``--fix`` applied.
    """
    asked = stored.plan
    if space.to_json(asked.get("preset"))["hash"] != stored.space.hash:
        return f"space {space.name} is declared otherwise now than when {stored.name} was planned"
    kept, spec = stored.space.file_hash, str(asked.get("space"))
    if kept is not None and file_hash(spec) != kept:
        return f"{spec} has changed since {stored.name} was planned"
    return None


def find_images(
    plan: StudyPlan, stored: StoredPlan, space: SearchSpace, studies: Path, progress: Progress
) -> Images:
    """Return test images of a study's data, or why there are none, with the statistics.

    Nothing is downloaded for them.

    Raises:
        PlanError: if the data set is not here, and the plan is too old to tell the statistics.
    """
    try:
        data = _load(plan, stored, space, studies, progress)
    except ValueError as error:  # DataError, and what a changed data set is refused with
        return _without_data(stored, str(error))
    images = data.test.x if hasattr(data.test, "x") else data.test.images
    import numpy as np
    import torch

    # Over the whole split, which a folder of images has class after class.
    rows = np.linspace(0, len(images) - 1, min(_CHECKED, len(images))).astype(np.int64)
    some = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).contiguous()
    mean, std = statistics(data)
    return Images(some, mean, std, f"{len(some)} test images of {stored.data.name}")


def statistics(data: "Data") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel that students see data with, scale 0..1.

    Pairs of images are brought to the scale from -1 to 1.
    """
    halves = (0.5,) * data.shape[2]
    return getattr(data, "mean", halves), getattr(data, "std", halves)


def _load(
    plan: StudyPlan, stored: StoredPlan, space: SearchSpace, studies: Path, progress: Progress
) -> "Data":
    from study.task import task_of

    with progress.phase(f"data {stored.data.name}") as phase:
        data = task_of(space).load(
            plan,
            space,
            cache_dir=studies / "datasets",
            progress=lambda what, done, total: phase.update(done, total, what),
            download=False,
        )
    if data.content_hash != stored.data.hash:
        raise PlanError(f"{stored.data.name} has other images now than the study learnt from")
    return data


def _without_data(stored: StoredPlan, reason: str) -> Images:
    if stored.data.mean is None or stored.data.std is None:
        raise PlanError(
            f"the data of study {stored.name} cannot be read ({reason}), and its plan is of a "
            "version that did not keep their mean and deviation; bring the data back to export"
        )
    why = f"the data set cannot be read ({reason})"
    return Images(None, stored.data.mean, stored.data.std, why)


@dataclass(frozen=True)
class KeptStudent:
    """A finished student, as it is deployed, on the CPU in eval mode.

    Attributes:
        network: Float images `(batch, c, h, w)`, normalised, to its answer.
        weights_hash: SHA-256 in hex of its file in the study's folder.
    """

    network: "nn.Module"
    weights_hash: str


def load_kept_student(
    folder: Path, stored: StoredPlan, space: SearchSpace, number: int, direction: str
) -> KeptStudent:
    """Load a trial's student from the study's folder alone; no data and no teacher is needed.

    Args:
        folder: The study's folder.
        stored: Its plan.
        space: Its space.
        number: Of the trial.
        direction: Of students of pairs, one of :data:`DIRECTIONS`.

    Raises:
        study.distillation.checkpoint.CheckpointError: if its file is damaged.
        PlanError: if the space does not build it any more, or this processor cannot run it.
    """
    import torch

    from search_spaces.networks.int8 import NoInt8KernelError
    from study.distillation import checkpoint
    from study.distillation.deployment import deployed, kept

    path, name = student_file(folder, number), trial_name(number)
    state = checkpoint.load(path)
    height, width, channels = stored.data.shape
    # What a student draws as it is built, and keeps apart from its weights, is drawn as in its run.
    torch.manual_seed(run_seed(int(stored.plan["seed"]), int(state.get("run", 0))))
    try:
        built = space.build_student(
            state["params"], len(stored.data.classes), (height, width, channels)
        )
        whole = kept(built)
        whole.load_state_dict(state["weights"])
        network = whole.get_submodule(direction) if stored.space.of_pairs else deployed(whole)
    except NoInt8KernelError as error:
        why = str(error).partition(";")[0]
        raise PlanError(f"{name}: {why}; export it on a machine like the study's") from error
    except Exception as error:  # the space may be of one's own, and raise whatever it likes
        reason = shorten(str(error) or type(error).__name__, _LONGEST_REASON, placeholder=" …")
        raise PlanError(
            f"space {space.name} does not build the student of {name} any more ({reason}); bring "
            f"it back as it was when {stored.name} ran"
        ) from error
    network.eval()
    return KeptStudent(network, hashlib.sha256(path.read_bytes()).hexdigest())
