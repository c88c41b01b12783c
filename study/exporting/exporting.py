"""A student exported: written, asked again from its file, timed, and described."""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.record import StudyResults
from analysis.results import TrialResult
from search_spaces.space import SearchSpace
from study.atomic import write_atomically
from study.exporting.evidence import Evidence, gather
from study.exporting.source import Images, load_kept_student, space_change
from study.plan import PlanError
from study.progress import Progress

if TYPE_CHECKING:
    from study.distillation.export import Format, Shape, Takes

SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "torchscript": ".torchscript.pt"}


class DisagreementError(RuntimeError):
    """A file that does not answer as its student did; nothing of it is left."""


@dataclass(frozen=True)
class Asked:
    """What to export.

    Attributes:
        trial: Whose student.
        form: The format.
        takes: What images come as.
        direction: Of students of pairs, which translation.
        output: The folder to write to.
    """

    trial: TrialResult
    form: "Format"
    takes: "Takes"
    direction: str
    output: Path


@dataclass(frozen=True)
class Exported:
    """An exported student, with the evidence.

    Attributes:
        file: The student.
        card: Its model card, Markdown.
        sha256: Of the file.
        bytes: Of the file.
        quantised: Whether it computes with weights of eight bits.
        weights_sha256: Of the student's file in the study that it was made from.
        evidence: How it answers and how fast.
        space_change: How the space that built the student is not that of the study any more, in a
            clause; None where it is.
        classes: Their names, in the order of the logits; empty where it answers with an image.
    """

    file: Path
    card: Path
    sha256: str
    bytes: int
    quantised: bool
    weights_sha256: str
    evidence: Evidence
    space_change: str | None
    classes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return one object for scripts."""
        places = {"file": str(self.file), "card": str(self.card)}
        return {**asdict(self), **places, "classes": list(self.classes)}


def export_student(
    folder: Path,
    results: StudyResults,
    space: SearchSpace,
    asked: Asked,
    images: Images,
    progress: Progress,
) -> Exported:
    """Export a student; the file comes to its place once it is known to agree.

    Raises:
        PlanError: if the student is damaged or cannot be built again, the format cannot hold it,
            the file cannot be run, or the folder cannot be written to.
        DisagreementError: if the file answers otherwise than the student.
    """
    from study.exporting.card import card_text

    place = asked.output / file_name(results, asked)
    partial = place.with_name(f".{place.name}.tmp")
    try:
        asked.output.mkdir(parents=True, exist_ok=True)
        exported = _written(folder, results, space, asked, images, partial, progress)
        card = card_text(results, space, asked, images, exported)
        figures = place.with_name(f"{place.name}.json")
        # Wherever this is cut off, no file lies beside what is said of another.
        for earlier in (exported.card, figures):
            earlier.unlink(missing_ok=True)
        partial.replace(place)
        write_atomically(exported.card, card)
        write_atomically(figures, json.dumps(exported.to_json(), indent=1) + "\n")
    except OSError as error:
        raise PlanError(
            f"--output {asked.output} cannot be written to ({error.strerror or error}); "
            "name another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # of a folder that is none
            partial.unlink()
    return exported


def _written(
    folder: Path,
    results: StudyResults,
    space: SearchSpace,
    asked: Asked,
    images: Images,
    path: Path,
    progress: Progress,
) -> Exported:
    """Write the file and examine it; it is described as lying where it is going to."""
    import torch

    from study.distillation.checkpoint import CheckpointError
    from study.distillation.export import ExportError, Shipped, is_quantised, write
    from study.distillation.runtime import reason_of

    stored = results.plan
    torch.set_num_threads(int(stored.plan.get("cpus_per_trial") or 1))
    with progress.phase(f"student {asked.trial.name} as {asked.form}"):
        try:
            kept = load_kept_student(folder, stored, space, asked.trial.number, asked.direction)
        except CheckpointError as error:
            raise PlanError(f"the student of {asked.trial.name} is damaged: {error}") from None
        classes = None if stored.space.of_pairs else len(stored.data.classes)
        shipped = Shipped(kept.network, images.mean, images.std, takes=asked.takes, classes=classes)
        try:
            write(shipped, shape_of(results), path, asked.form, about(results, asked.trial))
        except ExportError as error:
            raise PlanError(f"{asked.trial.name}: {error}") from None
    change = space_change(stored, space)
    if change is not None:
        progress.warn(f"{change}; the student is built as it says now, and compared with that")
    shape = shape_of(results)
    try:
        evidence = gather(path, asked.form, kept.network, shipped, images, shape, progress)
    except Exception as error:  # runtimes raise of many kinds
        raise PlanError(
            f"{asked.trial.name}: its file cannot be run as {asked.form} ({reason_of(error)}); ask "
            "for another --format"
        ) from error
    if not evidence.agreement.agrees:
        raise DisagreementError(_disagreement(asked, evidence))
    content = path.read_bytes()
    place = asked.output / file_name(results, asked)
    return Exported(
        file=place,
        card=place.with_name(f"{place.name}.md"),
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        quantised=is_quantised(shipped.student),
        weights_sha256=kept.weights_hash,
        evidence=evidence,
        space_change=change,
        classes=() if stored.space.of_pairs else tuple(stored.data.classes),
    )


def file_name(results: StudyResults, asked: Asked) -> str:
    """Return what the file is called: `digits-t0007.onnx`, `digits-t0007-float32.onnx`."""
    way = f"-{asked.direction}" if results.plan.space.of_pairs else ""
    takes = "" if asked.takes == "uint8" else f"-{asked.takes}"
    return f"{results.plan.name}-{asked.trial.name}{way}{takes}{SUFFIXES[asked.form]}"


def about(results: StudyResults, trial: TrialResult) -> dict[str, str]:
    """Return what a file says of itself, by name."""
    data = results.plan.data
    return {
        "study": results.plan.name,
        "trial": trial.name,
        "student": trial.architecture,
        "data": f"{data.name} sha256:{data.hash}",
        "classes": json.dumps(list(data.classes)),
        "plan": results.plan.hash,
    }


def shape_of(results: StudyResults) -> "Shape":
    """Return height, width and channels of the study's images."""
    height, width, channels = results.plan.data.shape
    return height, width, channels


def _disagreement(asked: Asked, evidence: Evidence) -> str:
    found = evidence.agreement
    same = "" if found.same_class is None else f", {100 * found.same_class:.1f} % of the same class"
    return (
        f"{asked.trial.name} as {asked.form} does not answer as the student does: largest "
        f"difference {found.largest_difference:.3g} where answers reach "
        f"{found.largest_answer:.3g}{same}, on {evidence.checked_on}; nothing was kept"
    )
