"""Saliency maps of teacher, distilled student and its control for the same test images."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from analysis.front import KdPair, front_members, kd_pairs, taught_by_itself
from analysis.illustration import IllustrationColumn
from analysis.results import TrialResult
from analysis.runs import mean_scores
from analysis.stored_plan import Space
from study.class_task import class_data
from study.drawing import Drawing, DrawnCell, Kind, Trials

if TYPE_CHECKING:
    from study.distillation.image_data import ImageData, Split
    from study.distillation.saliency import Looked
    from study.trial_context import TrialContext

_CAPTION = """\
Saliency maps (Simonyan et al., 2013): how strongly each pixel moves the logit of the image's true \
class: the largest absolute gradient of its channels. The brighter, the more; black is nothing. \
Each map is scaled to its own largest value, so brightness compares places within a map and not \
one map with another.
{student} is the distilled student of the best validation {score} among those of the front whose \
weights and whose control's are kept (where there is none, among the seed points). {control} is \
that control: the same student and recipe, taught by labels alone.
The images are {images}, in the data set's order; none was picked for what it shows. Under each \
map stands the class that the network predicts."""


def pairs_to_show(trials: Sequence[TrialResult], space: Space) -> Iterator[Trials]:
    """Yield distilled students with their controls: of the front, then of presets, best first.

    Students that their own deeper exits taught are not shown beside a teacher they never asked.
    """
    members = {trial.number for trial in front_members(trials, space.third)}
    scores = mean_scores(trials)

    def order(pair: KdPair) -> tuple[bool, float, float, int]:
        student = pair.distilled
        score, latency = scores.get(student.number, student.val_score), student.latency_ms
        return (
            student.number not in members,
            math.inf if score is None else -score,
            math.inf if latency is None else latency,
            student.number,
        )

    for pair in sorted(kd_pairs(trials, space), key=order):
        if taught_by_itself(pair.distilled):
            continue
        if pair.distilled.number in members or pair.distilled.source == "preset":
            yield pair.distilled, pair.control


def draw(context: "TrialContext", trials: Trials, teacher_checkpoint: str | None) -> Drawing:
    """Draw the maps; on a worker.

    Raises:
        study.distillation.checkpoint.CheckpointError: if a student is missing or damaged.
        study.distillation.teacher_recipe.TeacherError: if the teacher is.
    """
    from study.distillation.saliency import first_of_classes, saliency
    from study.student import device_of, load_kept, pin_threads
    from study.trial_teacher import trained_teacher

    pin_threads(context.threads)
    distilled, control = trials
    data, device = class_data(context.data), device_of(context)
    teacher = context.teacher_of(distilled.params)
    networks = (
        trained_teacher(teacher, data, str(context.place), context.seed, teacher_checkpoint),
        load_kept(context, distilled.number),
        load_kept(context, control.number),
    )
    images = data.test.take(first_of_classes(data.test.labels))
    own = data.mean, data.std
    seen_by = (teacher.recipe.normalization(*own), own, own)
    looked = [
        saliency(network.to(device), images, mean, std, data.num_classes, device)
        for network, (mean, std) in zip(networks, seen_by, strict=True)
    ]
    columns = (
        IllustrationColumn("Test image", "its class"),
        IllustrationColumn("Teacher", teacher.recipe.title),
        IllustrationColumn("Distilled", f"{distilled.name} {distilled.architecture}"),
        IllustrationColumn("Control", control.name),
    )
    return Drawing(
        title="Where the networks look",
        caption=_CAPTION.format(
            student=distilled.name,
            control=control.name,
            score=context.space.score.name,
            images=_chosen(images, data),
        ),
        columns=columns,
        rows=tuple(_row(place, images, looked, columns, data) for place in range(len(images))),
    )


def _chosen(images: "Split", data: "ImageData") -> str:
    """Say which test images are shown."""
    shown = len(set(images.labels.tolist()))
    each = len(images) // max(shown, 1)
    count = "two" if each == 2 else str(each)
    which = "the first test image" if each == 1 else f"the first {count} test images"
    whose = "each class" if shown == data.num_classes else f"each of the first {shown} classes"
    return f"{which} of {whose}"


def _row(
    place: int,
    images: "Split",
    looked: Sequence["Looked"],
    columns: Sequence[IllustrationColumn],
    data: "ImageData",
) -> tuple[DrawnCell, ...]:
    from study.distillation.pictures import heat_png, image_png

    label = int(images.labels[place])
    name = data.classes[label]
    cells = [DrawnCell(image_png(images.images[place]), f"Test image of class {name}", name)]
    for column, seen in zip(columns[1:], looked, strict=True):
        predicted = int(seen.predicted[place])
        cells.append(
            DrawnCell(
                heat_png(seen.maps[place]),
                f"Saliency map of the {column.title.lower()} network, image of class {name}",
                data.classes[predicted],
                predicted == label,
            )
        )
    return tuple(cells)


SALIENCY = Kind("saliency", "saliency maps", pairs_to_show, draw)
