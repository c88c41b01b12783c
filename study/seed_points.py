"""What is tried before the sampler is asked: a preset's rows, the default, the control."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.results import DEFAULT_CONTROL_LABEL
from search_spaces.space import Params, SearchSpace, Value


@dataclass(frozen=True)
class SeedPoint:
    """A configuration tried before the sampler is asked: a preset's row or a control."""

    label: str
    source: str
    params: Mapping[str, Value] = field(default_factory=dict)


def seed_points(
    space: SearchSpace, preset: str | None, fixed: Params | None = None
) -> tuple[SeedPoint, ...]:
    """Return the configurations tried first, in order, none twice.

    They are the preset's rows (or the space's default configuration), then the control of the
    default, if the space has controls. Parameters held by ``fixed`` keep their value in every one
    of them.
    """
    held = dict(fixed or {})
    asked: list[tuple[str, Params]] = [("default", {})]
    if preset is not None:
        asked = [(row.label, row.params) for row in space.presets[preset]]
    if space.control:
        asked.append((DEFAULT_CONTROL_LABEL, space.control))
    points: list[SeedPoint] = []
    for label, overrides in asked:
        params = space.complete({**overrides, **held})
        if all(dict(point.params) != params for point in points):
            source = "control" if space.is_control(params) else "preset"
            points.append(SeedPoint(label, source, params))
    return tuple(points)


def teacher_values(space: SearchSpace, preset: str | None, fixed: Params) -> tuple[Value, ...]:
    """Return the values that ask for a teacher each, the study's own first.

    They are those of the parameter ``space.teacher_varies_with`` that any trial can have; where
    one teacher serves all trials there are none.

    Args:
        space: The space, with ``fixed`` applied.
        preset: The preset that is tried first, if any.
        fixed: Parameters held with ``--fix``.
    """
    name = space.teacher_varies_with
    if name is None:
        return ()
    seeds = (point.params.get(name) for point in seed_points(space, preset, fixed))
    values = (space.parameter(name).default, *space.drawn_values(name), *seeds)
    return tuple(dict.fromkeys(value for value in values if value is not None))
