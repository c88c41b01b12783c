"""What a study asks of every student on its front, and by how much one falls short of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.formatting import less_than
from analysis.results import TrialResult
from search_spaces.space import ACCURACY, SearchSpace
from study.plan import PlanError, StudyPlan

if TYPE_CHECKING:
    from search_spaces.space import Score


def check_min_score(asked: float | None, space: SearchSpace) -> None:
    """Refuse a least score that every student has, or none.

    Raises:
        PlanError: naming the best score there is, or what was meant.
    """
    if asked is None:
        return
    score = space.score
    option = "--min-accuracy" if score.name == "accuracy" else "--min-score"
    such = f"give {score.unit}, such as {0.9 * score.best:g}"
    if not asked > 0:
        raise PlanError(f"{option} {asked:g} is not above 0; {such}")
    if score.unit == "%" and asked < 1:
        raise PlanError(f"{option} {asked:g} is in percent; did you mean {100 * asked:g}?")
    if not asked < score.best:
        raise PlanError(
            f"{option} {asked:g}: {score.name} is perfect at {score.best:g} {score.unit}; give less"
        )


@dataclass(frozen=True)
class Constraints:
    """Limits, each None where there is none.

    A student that is too slow or too large is refused before its first epoch, by the worker that
    has just measured it. One that scores too little is told only by its last epoch. Configurations
    tried first (a preset's rows, the default and its control) are there to be compared with, so
    below the least score they are complete all the same, and on no front. So are the further runs
    of a configuration, for a mean over those alone that did well would be too good, and the
    controls that are trained after the search.

    Attributes:
        max_latency_ms: Of one image.
        max_params_m: Millions of parameters.
        min_score: On the validation split, after the last epoch, in the unit of ``score``.
        score: The space's.
    """

    max_latency_ms: float | None = None
    max_params_m: float | None = None
    min_score: float | None = None
    score: "Score" = ACCURACY

    @classmethod
    def of(cls, plan: StudyPlan, space: SearchSpace) -> "Constraints":
        """Return those of a plan."""
        return cls(plan.max_latency_ms, plan.max_params_m, plan.min_score, space.score)

    def too_poor(self, score: float | None) -> str | None:
        """Say that a fully trained student scores too little, or nothing."""
        if score is None or self.min_score is None or score >= self.min_score:
            return None
        return f"{self.score.name} {less_than(score, self.min_score, self.score.unit)}"

    def violations(
        self, latency_ms: float | None, params_m: float | None, score: float | None
    ) -> Mapping[str, float]:
        """Return each constraint's violation, as Optuna counts them: above 0 it is broken.

        They are shares of the limits, so that their sum says how far off a student is.

        Args:
            latency_ms: Latency, None before it is measured; the constraint is then left out.
            params_m: Millions of parameters, in the same way.
            score: Of a fully trained student, None of others.
        """
        found = {}
        if self.max_latency_ms is not None and latency_ms is not None:
            found["latency"] = latency_ms / self.max_latency_ms - 1.0
        if self.max_params_m is not None and params_m is not None:
            found["params"] = params_m / self.max_params_m - 1.0
        if self.min_score is not None and score is not None:
            found["score"] = 1.0 - score / self.min_score
        return found

    def refuse_architecture(self, trial: TrialResult) -> bool:
        """Whether a trial was refused for its student alone, however it would be trained."""
        latency = None if trial.outcome is None else trial.outcome.latency_ms
        size = None if trial.model is None else trial.model.params_m
        return any(value > 0.0 for value in self.violations(latency, size, None).values())
