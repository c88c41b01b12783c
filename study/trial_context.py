"""What a trial is given: what all trials of a study share, and what is its own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.results import trial_name
from study.mirror import Mirror, mirror_of
from study.seeds import run_seed
from study.trial_teacher import TeacherVariant

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace, Value
    from study.distillation.precision import Precision
    from study.task import Data


STUDENT_FILE = "student.pt"


CHECKPOINT_FILE = "last.pt"
# The name under which a report to Ray Tune has its nested parts, in a list.
NESTED = "nested"


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a study share; put into Ray's object store once and mapped by each.

    Attributes:
        space: The search space.
        data: The data set; the train split is the students'.
        reduced_rows: For each share of the train set below 1, the rows it keeps.
        teacher: The study's teacher, whose latency all students are compared with; None where
            there is none, and the space's default student takes its place.
        teacher_ms: Its batch-1 latency on the idle device.
        teacher_over_metronome: That over what the metronome takes, of whom small students have
            their pace (:mod:`study.distillation.metronome`); None where all have the teacher's, as
            in studies from before there was one.
        folder: The study's folder.
        epochs, views, seed, precision, threads, on_gpu: As planned. The seed is the study's, of
            its views among others; students are trained with that of their :attr:`run`. Where no
            number of views is given, every epoch has a new one and the outputs are those of all.
        max_latency_ms, max_params_m: Constraints, or None.
        variants: The teacher for each value of ``space.teacher_varies_with``, the study's own
            among them; empty where one serves all trials.
        run: Which run of its configuration a trial is: 0, unless it is a replicate.
        every_epoch: Whether each epoch must leave a checkpoint, as another worker may go on there.
        device_kind: Of the devices that trials run on; empty if any will do.
        runtime: What runs networks while their latency is taken.
        folded: Whether their batch norms are folded for it; not in studies whose teacher was timed
            before that was done.
        gpus: GPUs of a trial; a part of one is shared by several.
        mirror: The studies folder in an object store, if it is in one.
        shared: Whether the study's folder is one that nodes have in common, and may lack.
        timing_seconds: The most for one latency on the idle device; while other trials run, and
            for each copy of the A/A test, it takes a part of that.
    """

    space: "SearchSpace"
    data: "Data"
    reduced_rows: Mapping[float, np.ndarray[Any, Any]]
    teacher: TeacherVariant | None
    teacher_ms: float
    folder: str
    epochs: int
    views: int | None
    seed: int
    precision: "Precision"
    threads: int
    on_gpu: bool
    max_latency_ms: float | None = None
    max_params_m: float | None = None
    variants: "Mapping[Value, TeacherVariant]" = field(default_factory=dict)
    run: int = 0
    every_epoch: bool = False
    device_kind: str = ""
    runtime: str = "eager"
    folded: bool = True
    gpus: float = 0.0
    mirror: Mirror | None = None
    shared: bool = False
    timing_seconds: float = 6.0
    fuse: str = "auto"
    teacher_over_metronome: float | None = None

    @property
    def place(self) -> Path:
        """The study's folder on this machine: each has its own copy of one in an object store."""
        mirror, folder = self.mirror, Path(self.folder)
        return folder if mirror is None else mirror.folder / folder.name

    @property
    def run_seed(self) -> int:
        """The seed of a student's initialisation, data order and dropout."""
        return run_seed(self.seed, self.run)

    def of_run(self, run: int) -> "TrialContext":
        """Return the same for another run: only the student's own seed differs."""
        return self if run == self.run else replace(self, run=run)

    def teacher_of(self, params: Mapping[str, Any]) -> TeacherVariant:
        """Return who teaches a trial: the study's teacher, unless its parameters name another.

        Raises:
            ValueError: if nobody does.
        """
        value = params.get(self.space.teacher_varies_with or "")
        teacher = self.teacher if value is None else self.variants[value]
        if teacher is None:
            raise ValueError(f"space {self.space.name} has no teacher to ask")
        return teacher


@dataclass(frozen=True)
class TrialTask:
    """What one trial is given.

    ``model`` and ``latency`` are those already in the record for this architecture, if any.
    ``protected`` trials (presets and controls) are never stopped early. ``known_exits`` are size
    and latency of the student's other exits, by architecture, as far as they are in the record.
    ``run`` says which run of its configuration the trial is, and so its seed. ``epochs_known`` are
    those on record; a worker whose driver was killed may have left a checkpoint of one more, or of
    fewer where not every epoch is written. ``avoided`` are nodes, by Ray's names, that are no good
    for it. ``partners`` are further runs of the same configuration, which its worker may train with
    it as one: of each its trial's number and its run.
    """

    number: int
    params: Mapping[str, Any]
    protected: bool
    model: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    known_exits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run: int = 0
    epochs_known: int = 0
    avoided: tuple[str, ...] = ()
    partners: tuple[tuple[int, int], ...] = ()

    def to_config(self) -> dict[str, Any]:
        """Return it as the configuration of a Ray trial.

        But for what a scheduler looks at it is in a list, where Ray Tune does not look: of each
        number in nested dictionaries, of what trials are given as of what they report, it keeps
        statistics, 50 KB a trial.
        """
        seen = {"number": self.number, "protected": self.protected}
        return {**seen, "epochs_known": self.epochs_known, "task": [asdict(self)]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TrialTask":
        """Return the task that :meth:`to_config` made a configuration of."""
        return cls(**config["task"][0])


def trial_folder(study_folder: Path, number: int) -> Path:
    """Return where a trial's checkpoint and finished student lie."""
    return study_folder / "checkpoints" / trial_name(number)


def student_file(study_folder: Path, number: int) -> Path:
    """Return where a trial's finished student lies, if it is kept."""
    return trial_folder(study_folder, number) / STUDENT_FILE


def has_student(study_folder: Path, number: int) -> bool:
    """Whether a trial's finished student is kept; from an object store it is brought here.

    Raises:
        study.object_store.StoreError: if the store does not answer.
    """
    path = student_file(study_folder, number)
    if path.is_file():
        return True
    mirror = mirror_of(study_folder.parent)
    return mirror is not None and mirror.bring(path)
