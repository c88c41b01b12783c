"""Small pictures of what was found, drawn on a worker once the front is confirmed.

Which kinds a study gets is said here, in :func:`kinds_for`. A kind is drawn once for the same
trials; one that fails costs a warning and nothing else.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.illustration import (
    ATTR_ILLUSTRATIONS,
    ILLUSTRATIONS_FOLDER,
    Illustration,
    IllustrationRow,
    Picture,
    read_pictures,
)
from analysis.stored_plan import Space
from cluster.connect import Cluster
from cluster.whole_node import NodeShare
from search_spaces.space import ACCURACY, WEIGHTED_F1, SearchSpace
from study.atomic import write_atomically
from study.cluster_tasks import ClusterTasks, always
from study.death import described
from study.drawing import Drawing, DrawnCell, Kind, Trials
from study.progress import Phase, Progress
from study.record import StudyRecord
from study.saliency import SALIENCY
from study.translations import TRANSLATIONS
from study.trial_context import TrialContext, has_student


def kinds_for(space: SearchSpace) -> tuple[Kind, ...]:
    """Return the kinds of illustration that suit a space.

    Classes that a teacher taught: saliency maps of teacher, student and control. Pairs of images:
    what is predicted, beside the truth, in both directions.
    """
    if space.data_kind == "pairs":
        return TRANSLATIONS
    if space.score in (ACCURACY, WEIGHTED_F1) and space.taught:
        return (SALIENCY,)
    return ()


class Illustrator:
    """Draws the illustrations of a study and keeps them with its record.

    Args:
        record: Read and written.
        space: The record's view of the space, by which trials are paired.
        context: What trials share.
        context_reference: The same in Ray's object store.
        teacher_checkpoint: Path of one's own teacher, or None.
        cluster: Where to draw.
        progress: Shows what is drawn.
        retries: How often a drawing is asked for again whose worker was lost.
    """

    def __init__(
        self,
        record: StudyRecord,
        space: Space,
        context: TrialContext,
        context_reference: Any,
        teacher_checkpoint: str | None,
        cluster: Cluster,
        progress: Progress,
        retries: int = 2,
    ) -> None:
        self._record = record
        self._space = space
        self._context = context
        self._reference = context_reference
        self._checkpoint = teacher_checkpoint
        self._cluster = cluster
        self._progress = progress
        self._retries = retries
        self._folder = record.folder / ILLUSTRATIONS_FOLDER

    def draw(self, kinds: Iterable[Kind]) -> None:
        """Draw the kinds that are not there yet for the trials they are to be of.

        What the record has of a kind stays until its successor is on the disk, and wherever none
        can be drawn.
        """
        for kind in kinds:
            drawn = self._draw_one(kind)
            if drawn is not None:
                others = [each for each in recorded(self._record) if each.name != kind.name]
                every = sorted([*others, drawn], key=lambda each: each.name)
                self._record.set_attribute(ATTR_ILLUSTRATIONS, [each.to_json() for each in every])
                sweep(self._folder, every)

    def _draw_one(self, kind: Kind) -> Illustration | None:
        try:
            trials = self._next(kind)
        except Exception as error:
            self._progress.warn(f"no {kind.title}: {described(error)}")
            return None
        if trials is None:
            return None
        problem = None
        with self._progress.phase(kind.title) as phase:
            try:
                return self._made(kind, trials, phase)
            except Exception as error:
                # A warning is shown once the phase is over, not into it.
                problem = described(error)
        self._progress.warn(f"no {kind.title}: {problem}; the study is complete without them")
        with contextlib.suppress(OSError):
            sweep(self._folder, recorded(self._record))
        return None

    def _next(self, kind: Kind) -> Trials | None:
        """Return the trials to draw; None where the best that can be drawn are."""
        there = {each.name: each for each in recorded(self._record)}.get(kind.name)
        if there is not None and len(self._read(there)) < len(set(there.files)):
            there = None  # some of its pictures are lost
        for trials in kind.subjects(self._record.trials(), self._space):
            if there is not None and there.trials == tuple(trial.number for trial in trials):
                return None
            if all(has_student(self._record.folder, trial.number) for trial in trials):
                return trials
        return None

    def _read(self, illustration: Illustration) -> Mapping[str, bytes]:
        return read_pictures(self._record.folder, [illustration])

    def _made(self, kind: Kind, trials: Trials, phase: Phase) -> Illustration:
        gpus = 1 if self._context.on_gpu else 0
        tasks = ClusterTasks(
            always(NodeShare(self._context.threads, gpus, self._cluster.selector)),
            f"draws the {kind.title}",
            retries=self._retries,
            warn=self._progress.warn,
        )
        phase.note = ", ".join(trial.name for trial in trials)
        asked = self._reference, trials, self._checkpoint
        drawing: Drawing = tasks.run(phase, kind.draw, *asked)
        return store(self._folder, kind.name, trials, drawing)


def recorded(record: StudyRecord) -> list[Illustration]:
    """Return the illustrations that a record has."""
    return [Illustration.from_json(body) for body in record.attribute(ATTR_ILLUSTRATIONS) or ()]


def store(folder: Path, name: str, trials: Trials, drawing: Drawing) -> Illustration:
    """Write the pictures of a drawing and return what the record is to say of it.

    A file is named by its place and its content, so none that the record names is written over.

    Args:
        folder: The study's folder of illustrations, made if need be.
        name: Of the kind.
        trials: What it is of.
        drawing: What a worker drew.

    Raises:
        OSError: if a picture cannot be written.
    """
    folder.mkdir(exist_ok=True)
    rows = [
        IllustrationRow(tuple(_keep(folder, f"{name}-{y}-{x}", cell) for x, cell in enumerate(row)))
        for y, row in enumerate(drawing.rows)
    ]
    numbers = tuple(trial.number for trial in trials)
    return Illustration(name, drawing.title, drawing.caption, numbers, drawing.columns, tuple(rows))


def _keep(folder: Path, stem: str, cell: DrawnCell) -> Picture:
    png = cell.png
    path = folder / f"{stem}-{hashlib.sha256(png.content).hexdigest()[:12]}.png"
    write_atomically(path, png.content)
    return Picture(path.name, png.width, png.height, cell.alt, cell.note, cell.right)


def sweep(folder: Path, kept: Sequence[Illustration]) -> None:
    """Remove what lies in the folder of illustrations and belongs to none of them."""
    names = {name for each in kept for name in each.files}
    for path in folder.iterdir():
        if path.name not in names and not path.is_dir():
            path.unlink(missing_ok=True)
