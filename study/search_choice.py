"""Which search a study has where none is asked for."""

from collections.abc import Mapping
from typing import Any

# Far ahead of the others wherever it was measured (tests/benchmarks/search).
SAMPLER, SCHEDULER = "latency-first", "pause"
# What trials are stopped by that another sampler proposes.
_SCHEDULER_OF_OTHERS = "pareto"


def chosen(
    sampler: str | None,
    scheduler: str | None,
    stored: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """Return the sampler and the scheduler: as asked, else as before, else the default.

    Args:
        sampler: As asked; None where it was not.
        scheduler: In the same way.
        stored: The plan of the study of this name, if there is one: it is gone on with alike.
    """
    if stored:
        return sampler or stored["sampler"], scheduler or stored["scheduler"]
    sampler = sampler or SAMPLER
    return sampler, scheduler or (SCHEDULER if sampler == SAMPLER else _SCHEDULER_OF_OTHERS)
