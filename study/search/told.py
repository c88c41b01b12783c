"""What a trial of an Optuna study was told of beside its values: its curve, and its costs."""

import math
import re

from optuna.trial import FrozenTrial

from study.search.coding import is_number

# Attributes of a trial: what it scored after an epoch, and what is known beside.
SCORE, LATENCY, THIRD = "score:", "latency", "third"
_OF_AN_EPOCH = re.compile(rf"{SCORE}(\d+)")


def positive(value: float | None) -> float | None:
    """What a latency or third is to be: finite and above 0; else it counts as unknown."""
    return value if value is not None and math.isfinite(value) and value > 0.0 else None


def number_told(trial: FrozenTrial, name: str) -> float | None:
    """A number that a trial was told; an objective may have its own attributes of that name."""
    value = trial.user_attrs.get(name)
    return float(value) if is_number(value) else None


def curve_of(trial: FrozenTrial, epochs: int) -> tuple[float, ...]:
    """Scores from the first epoch, as far as they were told without a gap.

    Raises:
        ValueError: if an epoch lies beyond the last one.
    """
    told = {
        int(of_an_epoch[1]): float(value)
        for name, value in trial.user_attrs.items()
        if (of_an_epoch := _OF_AN_EPOCH.fullmatch(name)) and is_number(value)
    }
    refuse_epoch(max([1, *told]), epochs, trial.number)
    scores: list[float] = []
    while len(scores) + 1 in told and math.isfinite(told[len(scores) + 1]):
        scores.append(told[len(scores) + 1])
    return tuple(scores)


def refuse_epoch(epoch: int, epochs: float, number: int) -> None:
    """Raise a ValueError where a trial reports an epoch that no training of it has."""
    if epoch < 1:
        raise ValueError(f"trial {number} reports epoch {epoch}; epochs are counted from 1")
    if epoch > epochs:
        raise ValueError(
            f"trial {number} reports epoch {epoch}, and LatencyFirstSampler was given "
            f"epochs={epochs}; give it the epochs of a whole training"
        )
