"""The front as pt2 files, which MLflow shows as models: made where torch is loaded already."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analysis.results import PLAN_FILE, TrialResult, trial_name
from analysis.stored_plan import StoredPlan, read_plan
from search_spaces.space import SearchSpace
from study.commands import command
from study.mirror import Mirror, mirror_of
from study.progress import Progress
from study.trial_context import has_student, student_file

if TYPE_CHECKING:
    from cluster.connect import Cluster

PROGRAMS_FOLDER = "models"
TAKES: Final = "uint8"
MOST_SECONDS = 60.0


def program_file(folder: Path, number: int) -> Path:
    """Return where a student of the front lies as a pt2 file."""
    return folder / PROGRAMS_FOLDER / f"{trial_name(number)}.pt2"


def make_on_cluster(
    folder: Path,
    front: Sequence[TrialResult],
    space: SearchSpace,
    cluster: "Cluster",
    progress: Progress,
) -> None:
    """Make those that are missing by a worker of a study; it is whole without them."""
    mend = f"{command('sync', folder)} tries again"
    try:
        make_programs(folder, front, on_worker(folder, space, cluster), progress, mend)
    except Exception as error:
        progress.warn(f"no MLflow models: {error}; {mend}")


def make_programs(
    folder: Path,
    front: Sequence[TrialResult],
    make: Callable[[TrialResult, float], None],
    progress: Progress,
    mend: str,
) -> None:
    """Make the files that are missing of a front, and remove all others.

    None is begun after a minute. One that fails costs a warning and nothing else.

    Args:
        folder: The study's folder.
        front: Whose students are wanted.
        make: Makes the file of a trial within some seconds.
        progress: Shows how far it is.
        mend: What makes those that are missing then.
    """
    _sweep(folder, front)
    missing = [
        trial
        for trial in front
        if not program_file(folder, trial.number).exists() and has_student(folder, trial.number)
    ]
    if not missing:
        return
    until, problems = time.monotonic() + MOST_SECONDS, []
    with progress.phase("students as MLflow models") as phase:
        for done, trial in enumerate(missing):
            phase.update(done, len(missing), trial.name)
            left = until - time.monotonic()
            if left <= 0:
                problems.append(f"{trial.name}: no time was left")
                continue
            try:
                make(trial, left)
            except Exception as error:
                first = (str(error) or type(error).__name__).splitlines()[0]
                problems.append(f"{trial.name}: {first}")
        phase.update(len(missing), len(missing))
    if problems:
        progress.warn(
            f"{len(problems)} of {len(missing)} students are no MLflow models yet "
            f"({problems[0]}); {mend}"
        )


def write_program(folder: Path, space: SearchSpace, number: int) -> None:
    """Write a trial's student as a pt2 file that takes uint8 images.

    Raises:
        study.distillation.checkpoint.CheckpointError: if its file is damaged.
        ValueError: if the study's plan does not tell the normalisation, or the student cannot be
            had.
    """
    from study.distillation.export import Shipped, write
    from study.exporting.source import load_kept_student

    plan = read_plan(folder / PLAN_FILE)
    if plan.data.mean is None or plan.data.std is None:
        raise ValueError("the plan is of a version that did not keep the data's statistics")
    kept = load_kept_student(folder, plan, space, number, "x_to_y")
    shipped = Shipped(
        kept.network, plan.data.mean, plan.data.std, takes=TAKES, classes=classes_of(plan)
    )
    height, width, channels = plan.data.shape
    path = program_file(folder, number)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    try:
        write(shipped, (height, width, channels), partial, "pt2", {})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def classes_of(plan: StoredPlan) -> int | None:
    """Return how many classes a student names; None where it answers images."""
    return None if plan.space.of_pairs else len(plan.data.classes)


def _write_there(folder: Path, mirror: Mirror | None, space: SearchSpace, number: int) -> None:
    """Write a file on a worker, in its own copy of a study in an object store, and send it."""
    if mirror is not None:
        folder = mirror.folder / folder.name
        mirror.bring(folder / PLAN_FILE)
        mirror.bring(student_file(folder, number))
    write_program(folder, space, number)
    if mirror is not None:
        mirror.send(program_file(folder, number))


def on_worker(
    folder: Path, space: SearchSpace, cluster: "Cluster"
) -> Callable[[TrialResult, float], None]:
    """Return what makes the file of a trial on a worker of the cluster."""
    import ray

    from cluster.fetching import fetch
    from cluster.whole_node import whole_node

    # What confirming takes, so that it is that process, in which torch is loaded.
    node = whole_node(ray.nodes(), gpus=False, selector=cluster.selector)
    mirror = mirror_of(folder.parent)
    task = ray.remote(_write_there).options(**node.options(), max_retries=0)
    shared: Any = ray.put(space)

    def make(trial: TrialResult, seconds: float) -> None:
        reference = task.remote(folder.absolute(), mirror, shared, trial.number)
        try:
            fetch(reference, seconds)
            if mirror is not None:
                mirror.bring(program_file(mirror.folder / folder.name, trial.number))
        except ray.exceptions.GetTimeoutError:
            ray.cancel(reference, force=True)
            raise TimeoutError("it took too long") from None

    return make


def _sweep(folder: Path, front: Iterable[TrialResult]) -> None:
    """Remove the files of those that have left the front, and what a killed driver was writing."""
    kept = {program_file(folder, trial.number).name for trial in front}
    for path in (folder / PROGRAMS_FOLDER).glob("*"):
        if path.name not in kept and not path.is_dir():
            path.unlink(missing_ok=True)
