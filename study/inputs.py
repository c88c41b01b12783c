"""A checked plan with everything it names, and the plan file that a study's folder begins with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import results
from analysis.stored_plan import lost_journal
from search_spaces.catalogue import file_hash
from search_spaces.space import SearchSpace
from study.atomic import write_atomically
from study.mirror import mirror_of
from study.plan import StudyPlan, differences, identity_hash
from study.record import RecordError, read_plan_file
from study.task import task_of
from study.trial_attributes import now

if TYPE_CHECKING:
    from study.task import Data
    from study.warm_start import Earlier


class DifferentPlanError(ValueError):
    """A study of this name exists, and asks something else."""


@dataclass(frozen=True)
class StudyInputs:
    """A checked plan with everything it names, found and read; ``teacher_key`` may be "none".

    ``earlier`` is what another study learnt, where there is a warm start.
    """

    plan: StudyPlan
    space: SearchSpace
    data: "Data"
    teacher_key: str
    studies: Path
    earlier: "Earlier | None" = None

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.studies / self.plan.name


def plan_document(inputs: StudyInputs) -> dict[str, Any]:
    """Return the content of plan.json: the plan, and what a report needs of space and data."""
    from study.exporting.source import statistics
    from study.preparation import student_data

    plan, data = inputs.plan, inputs.data
    space = inputs.space.to_json(plan.preset)
    earlier = inputs.earlier
    identity = plan.identity(
        space_hash=space["hash"],
        data_hash=data.content_hash,
        teacher_key=inputs.teacher_key,
        handed_over=None if earlier is None else earlier.hash,
    )
    students = student_data(data, plan.train_per_class)
    mean, std = statistics(data)
    return {
        "format": results.PLAN_FORMAT,
        "name": plan.name,
        "created_at": now(),
        "hash": identity_hash(identity),
        "identity": identity,
        "plan": plan.to_json(),
        # What relative paths in the plan are relative to.
        "directory": str(Path.cwd()),
        "space": {**space, "file_hash": file_hash(plan.space)},
        "data": {
            "name": data.name,
            "classes": list(data.classes),
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
            "student_train": len(students.train),
            "shape": list(data.shape),
            "hash": data.content_hash,
            "source": data.source,
            "floor_score": task_of(inputs.space).floor_score(inputs.space, data),
            "mean": list(mean),
            "std": list(std),
        },
    }


def check_same_plan(folder: Path, document: Mapping[str, Any]) -> None:
    """Refuse another plan under the name of an existing study.

    Raises:
        DifferentPlanError: naming each difference.
        RecordError: if the stored plan is damaged, or the record was lost.
    """
    lost = lost_journal(folder) if document["plan"].get("storage") is None else None
    if lost is not None:
        raise RecordError(lost)
    stored = read_plan_file(folder)
    if stored is not None and stored["hash"] != document["hash"]:
        raise _different(document["name"], stored.get("identity", {}), document["identity"])


def check_asked_as_before(folder: Path, plan: StudyPlan, space: SearchSpace) -> None:
    """Refuse what :func:`check_same_plan` would, as far as it is known before anything is read.

    Data, teacher and what a warm start hands over are taken to be as they were.

    Raises:
        DifferentPlanError: naming each difference.
        RecordError: if the stored plan is damaged.
    """
    document = read_plan_file(folder)
    if document is None or "hash" not in document:
        return
    stored = document.get("identity", {})
    asked = plan.identity(
        space_hash=space.to_json(plan.preset)["hash"],
        data_hash=stored.get("data_hash"),
        teacher_key=stored.get("teacher"),
        handed_over=stored.get("handed_over"),
    )
    if identity_hash(asked) != document["hash"]:
        raise _different(plan.name, stored, asked)


def _different(
    name: str, stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> DifferentPlanError:
    return DifferentPlanError(
        f"study {name} exists with another plan ({'; '.join(differences(stored, asked))}); "
        f"ask the same to continue it, or give this one a --name of its own"
    )


def make_folder(folder: Path) -> None:
    """Make the study's folder, readable by its owner alone, as is the studies folder if new.

    Raises:
        RecordError: if it cannot be made.
    """
    try:
        if not folder.parent.exists():
            folder.parent.mkdir(parents=True, mode=0o700)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"{folder} cannot be made ({error.strerror}); name another folder with --studies"
        ) from error


def store_plan(folder: Path, document: dict[str, Any]) -> None:
    """Write plan.json, first into an object store.

    A study that is continued keeps its date, and the hash of its space's file. To be called with
    the study's lock: what killed processes were writing is removed.

    Raises:
        StoreError: if the store does not take it.
    """
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    stored = read_plan_file(folder)
    if stored is not None:
        first = {"file_hash": stored["space"].get("file_hash")}
        document = {
            **document,
            "created_at": stored["created_at"],
            "space": {**document["space"], **first},
        }
    path, text = folder / results.PLAN_FILE, json.dumps(document, indent=1) + "\n"
    mirror = mirror_of(folder.parent)
    if mirror is not None:
        mirror.send_ahead(path, text)
    write_atomically(path, text)
