"""What one training yields besides: the other exits of a student that can be left early.

They share every epoch of the trial that trained them, and are told of with its last report, each
with its own score, size, latency and weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.results import EpochResult, Latency, ModelSize
from search_spaces.space import EXIT
from study.distillation.phases import PhaseClock
from study.student import build_student, measure_beside_others
from study.trial import refusal
from study.trial_context import TrialContext, TrialTask

if TYPE_CHECKING:
    import torch

    from search_spaces.space import Value

# Loss and score of each exit, in the order of the student's, after one epoch.
ExitScores = Sequence[Sequence[float]]


def exit_file(folder: Path, leave_at: "Value") -> Path:
    """Return where a trial's worker leaves the student of another exit."""
    return folder / f"exit-{leave_at}.pt"


def exit_reports(
    context: TrialContext,
    task: TrialTask,
    student: "torch.nn.Module",
    curve: Sequence[EpochResult],
    scores: Sequence[ExitScores],
    folder: Path,
    clock: PhaseClock,
) -> list[dict[str, Any]]:
    """Keep the students of a finished trial's other exits, and say what the record needs of each.

    Args:
        context: What trials share.
        task: The finished trial.
        student: Its whole network, trained.
        curve: Its epochs.
        scores: Of every exit, after each of them.
        folder: Where students are left for the driver.
        clock: Told of the time that measuring takes.
    """
    from study.distillation import checkpoint
    from study.distillation.deployment import Exits, deployed

    reports = []
    for params in context.space.siblings(task.params):
        assert isinstance(student, Exits)
        leave_at = params[EXIT]
        place = student.exits.index(leave_at)
        before = clock.enter("latency")
        model, latency = _measured(context, task, params)
        clock.enter(before)
        problem = refusal(context, model, latency.search_latency_ms(context.teacher_ms))
        if problem is None:
            stripped = deployed(student, leave_at)  # type: ignore[arg-type]
            weights = {name: value.cpu() for name, value in stripped.state_dict().items()}
            kept = {"params": dict(params), "weights": weights, "run": task.run}
            checkpoint.save(exit_file(folder, leave_at), kept, keep_previous=False)
        own = [
            replace(epoch, val_loss=each[place][0], val_score=each[place][1])
            for epoch, each in zip(curve, scores, strict=True)
        ]
        reports.append(
            {
                "exit": leave_at,
                "architecture": context.space.describe(params),
                "model": model.to_json(),
                "latency": latency.to_json(),
                "curve": [epoch.to_json() for epoch in own],
                "infeasible": problem,
            }
        )
    return reports


def _measured(
    context: TrialContext, task: TrialTask, params: Mapping[str, Any]
) -> tuple[ModelSize, Latency]:
    """Size and latency of an exit, measured unless the record had them when the trial began."""
    known = task.known_exits.get(context.space.describe(params))
    if known is not None:
        return ModelSize.from_json(known["model"]), Latency.from_json(known["latency"])
    # A network of its own: in the trained one, memory may be laid out for training.
    return measure_beside_others(context, build_student(context, params))
