"""What two autoencoders make of test images, beside the truth: the connected ones and the control.

One illustration a direction: the predicted image, that of the control, the true X, the true Y.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from analysis.front import front_members
from analysis.illustration import IllustrationColumn
from analysis.results import TrialResult
from analysis.runs import mean_scores
from analysis.stored_plan import Space
from study.drawing import Drawing, DrawnCell, Kind, Trials
from study.pair_task import pair_data
from study.saliency import pairs_to_show

if TYPE_CHECKING:
    from study.distillation.image_data import Images
    from study.distillation.pair_data import PairSplit
    from study.trial_context import TrialContext

Direction = Literal["x_to_y", "y_to_x"]

_IMAGES = 6
_TITLES: dict[Direction, str] = {"x_to_y": "From X to Y", "y_to_x": "From Y to X"}
_CAPTION = """\
{whose}
The images are the first {count} of the test split; none was picked for what it shows. Under a \
predicted image stands its PSNR against the true {target}."""
_BOTH = (
    "{student} is the best of the connected students by validation {score} that has a control, "
    "from the front or, with none there, from the seed points. {control} is that control: the same "
    "networks and recipe, without connections."
)
_ALONE = "{student} is the best student of the front by validation {score}."


def subjects(trials: Sequence[TrialResult], space: Space) -> Iterator[Trials]:
    """Yield connected students with their controls, best first, then the best of the front."""
    yield from pairs_to_show(trials, space)
    members = front_members(trials, space.third)
    scores = mean_scores(trials)

    def order(trial: TrialResult) -> tuple[float, int]:
        return -scores.get(trial.number, trial.val_score or 0.0), trial.number

    yield from ((trial,) for trial in sorted(members, key=order))


def draw_x_to_y(context: "TrialContext", trials: Trials, teacher_checkpoint: str | None) -> Drawing:
    """Draw what the students make of X in the first test pairs; on a worker.

    Raises:
        study.distillation.checkpoint.CheckpointError: if a student is missing or damaged.
    """
    return _draw("x_to_y", context, trials)


def draw_y_to_x(context: "TrialContext", trials: Trials, teacher_checkpoint: str | None) -> Drawing:
    """Draw what the students make of Y in the first test pairs; on a worker.

    Raises:
        study.distillation.checkpoint.CheckpointError: if a student is missing or damaged.
    """
    return _draw("y_to_x", context, trials)


def _draw(direction: Direction, context: "TrialContext", trials: Trials) -> Drawing:
    import numpy as np

    from study.distillation.pair_evaluation import translated
    from study.student import device_of, load_student, pin_threads

    pin_threads(context.threads)
    test = pair_data(context.data).test
    shown = test.take(np.arange(min(_IMAGES, len(test))))
    made = [
        translated(load_student(context, trial.number), shown, device_of(context))
        for trial in trials
    ]
    student, *others = trials
    whose = _BOTH if others else _ALONE
    return Drawing(
        title=_TITLES[direction],
        caption=_CAPTION.format(
            whose=whose.format(
                student=student.name,
                control=others[0].name if others else "",
                score=context.space.score.name,
            ),
            count=len(shown),
            target="Y" if direction == "x_to_y" else "X",
        ),
        columns=(
            IllustrationColumn("Predicted", f"{student.name} {student.architecture}"),
            *(IllustrationColumn("Without connections", trial.name) for trial in others),
            IllustrationColumn("True X", ""),
            IllustrationColumn("True Y", ""),
        ),
        rows=tuple(_row(place, direction, made, shown) for place in range(len(shown))),
    )


def _row(
    place: int, direction: Direction, made: "Sequence[PairSplit]", shown: "PairSplit"
) -> tuple[DrawnCell, ...]:
    from study.distillation.pictures import image_png

    source, target = ("X", "Y") if direction == "x_to_y" else ("Y", "X")
    x, y = shown.x[place], shown.y[place]
    true = y if target == "Y" else x
    predicted = [(split.y if target == "Y" else split.x)[place] for split in made]
    cells = [
        DrawnCell(
            image_png(image),
            f"{target} as predicted from {source} of test pair {place + 1}"
            f"{', without connections' if number else ''}",
            f"{_psnr(image, true):.1f} dB",
        )
        for number, image in enumerate(predicted)
    ]
    truth = (("X", x), ("Y", y))
    cells += [
        DrawnCell(image_png(im), f"{name} of test pair {place + 1}", "") for name, im in truth
    ]
    return tuple(cells)


def _psnr(predicted: "Images", true: "Images") -> float:
    import torch

    from study.distillation.image_metrics import psnr

    images = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (predicted, true))
    return float(psnr(*images))


TRANSLATIONS = (
    Kind("x-to-y", "images from X to Y", subjects, draw_x_to_y),
    Kind("y-to-x", "images from Y to X", subjects, draw_y_to_x),
)
