"""Learning-rate schedules: pure functions from a step to a factor of the peak rate.

Nothing is kept between steps, so a schedule resumes by being asked for the next step.
"""

import math
from collections.abc import Callable

INITIAL_FACTOR = 1 / 25
FINAL_FACTOR = INITIAL_FACTOR / 1e4


def one_cycle(step: int, total_steps: int, warm_up: float = 0.3) -> float:
    """One cycle (Smith and Topin 2018): linear up to the peak, then linear down to about 0.

    Start (1/25), end (1/250,000) and the turning point are those of
    `torch.optim.lr_scheduler.OneCycleLR(anneal_strategy="linear")`, where the first of
    `total_steps` is step 0; of trainings of under four steps the peak is the first.

    Args:
        step: 0 to `total_steps - 1`.
        total_steps: Steps of the whole training.
        warm_up: Share of the steps before the peak.
    """
    peak = max(warm_up * total_steps - 1, 0.0)
    if step < peak:
        return INITIAL_FACTOR + (1 - INITIAL_FACTOR) * step / peak
    falling = total_steps - 1 - peak
    if falling <= 0:
        return 1.0
    return FINAL_FACTOR + (1 - FINAL_FACTOR) * (total_steps - 1 - step) / falling


def cosine(step: int, total_steps: int, warm_up: float = 0.05) -> float:
    """A short linear warm-up, then half a cosine (Loshchilov and Hutter 2017) down to 0.

    The warm-up never asks for the rate 0, and the cosine would reach it one step after the last,
    so that no step is wasted.

    Args:
        step: 0 to `total_steps - 1`.
        total_steps: Steps of the whole training.
        warm_up: Share of the steps before the peak.
    """
    rising = round(warm_up * total_steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (1 + math.cos(math.pi * (step - rising) / (total_steps - rising))) / 2


def constant(step: int, total_steps: int) -> float:
    """The peak rate at every step."""
    return 1.0


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "onecycle": one_cycle,
    "cosine": cosine,
    "constant": constant,
}
