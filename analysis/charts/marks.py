"""Marks of the front chart: where each stands, which are in view, whose names fit beside them."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

Axis = Literal["latency", "ratio", "params", "flops"]
Group = Literal["front", "rival", "dominated", "stopped"]


class Mark(NamedTuple):
    """One configuration on the front chart: where, as what, what is said when it is pointed at.

    The score is the mean over its runs. Of a member of the front, or a near rival, that has several
    `bar` is half of its 95 % interval. `others` are its places on the axes beside that of latency:
    the inference-time ratio, parameters and FLOPs (M), as far as they are known. One that `breaks`
    a constraint is on no front.
    """

    trial: str
    latency_ms: float
    val_score: float
    group: Group
    distilled: bool
    hover: str
    bar: float | None = None
    others: Mapping[Axis, float] = MappingProxyType({})
    breaks: bool = False

    def on(self, axis: Axis) -> float | None:
        """Its place on an axis; None where that is not known."""
        return self.latency_ms if axis == "latency" else self.others.get(axis)


class Arrow(NamedTuple):
    """From a control to its distilled twin, as (latency ms, score); `bar` is that of the twin.

    `names` are the trials', control first.
    """

    control: tuple[float, float]
    distilled: tuple[float, float]
    bar: float | None = None
    names: tuple[str, str] = ("", "")


def view_of(marks: Sequence[Mark], best: float) -> tuple[tuple[float, float], int]:
    """Scores first shown: all of them, unless a few low ones would flatten the rest.

    Then the view starts at the lowest front member or rival, with its error, or at the lowest tenth
    of the fully trained students, whichever is lower.
    """
    if not marks:
        return (0.0, best), 0
    scores = sorted(mark.val_score for mark in marks)
    trained = sorted(mark.val_score for mark in marks if mark.group != "stopped") or scores
    near = [mark for mark in marks if mark.group in ("front", "rival")]
    members = [mark.val_score - (mark.bar or 0.0) for mark in near]
    tops = [min(mark.val_score + (mark.bar or 0.0), best) for mark in near]
    low, high = scores[0], max([scores[-1], *tops])
    focus = min([*members, trained[len(trained) // 10]])
    if high - low > 2 * (high - focus) > 0:
        low = focus
    pad = max(0.08 * (high - low), 0.5)
    view = (max(low - pad, min(low, 0.0)), min(high + 1.4 * pad, max(best, high) + pad))
    return view, sum(score < view[0] for score in scores)


def with_room(front: Sequence[Mark], view: tuple[float, float]) -> frozenset[str]:
    """Front members whose names, written up and left of them, touch no other name and no mark."""
    tall = max(view[1] - view[0], 1e-9)
    placeable = [mark for mark in front if mark.latency_ms > 0]
    latencies = [math.log(mark.latency_ms) for mark in placeable]
    wide = max(max(latencies, default=0.0) - min(latencies, default=0.0), math.log(2))
    places = {
        mark.trial: (math.log(mark.latency_ms) / wide, mark.val_score / tall) for mark in placeable
    }
    names: list[str] = []
    for mark in sorted(placeable, key=lambda m: -m.val_score):
        x, y = places[mark.trial]
        covers = any(
            0 < x - left <= 0.08 and abs(y - height) < 0.04 for left, height in places.values()
        )
        touches = any(
            abs(x - places[name][0]) <= 0.11 and abs(y - places[name][1]) <= 0.055 for name in names
        )
        if not covers and not touches:
            names.append(mark.trial)
    return frozenset(names)
