"""Which search a study has where none is asked for: the one that is at home in its objectives."""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.space import THIRD_OBJECTIVES

# Far ahead of the others wherever it was measured (tests/benchmarks/search), but it looks at the
# score and the latency alone.
KNOWS_TWO = ("latency-first", "pause")
# For three objectives, and what studies had that were made when this was the only default.
KNOWS_THREE = ("tpe", "pareto")


def chosen(
    sampler: str | None,
    scheduler: str | None,
    objectives: Sequence[str],
    stored: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """Return the sampler and the scheduler: as asked, else as before, else the default.

    Args:
        sampler: As asked; None where it was not.
        scheduler: In the same way.
        objectives: Of the study.
        stored: The plan of the study of this name, if there is one: it is gone on with alike.
    """
    if stored:
        return sampler or stored["sampler"], scheduler or stored["scheduler"]
    third = any(name in THIRD_OBJECTIVES for name in objectives)
    default, stops = KNOWS_THREE if third else KNOWS_TWO
    sampler = sampler or default
    # Who asks for another sampler is given what trials were always stopped by.
    return sampler, scheduler or (stops if sampler == KNOWS_TWO[0] else KNOWS_THREE[1])


def why_another(sampler: str, scheduler: str, objectives: Sequence[str]) -> str:
    """Say why a study of three objectives has not the usual search; empty of others."""
    third = [name for name in objectives if name in THIRD_OBJECTIVES]
    if not third or (sampler, scheduler) != KNOWS_THREE:
        return ""
    return f"as {KNOWS_TWO[0]} with {KNOWS_TWO[1]} knows score and latency, and no {third[0]}"
