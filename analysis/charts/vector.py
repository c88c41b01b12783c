"""Small charts as SVG inside the page: they need no script, follow its colours and print sharply.

The many dominated students are one path, whose zero-length strokes with round caps are dots; front
members and controls are elements of their own, which tell what they are when pointed at.
"""

from collections.abc import Iterable, Sequence

from analysis.charts.parallel import Line, ParallelInfo
from analysis.charts.scales import Scale
from analysis.charts.slices import Slice, SlicePoint
from analysis.markup import Html, join, tag, text

_WIDTH, _HEIGHT = 260, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 6, 8, 24
_LETTERS = 14  # of a word under an axis or over one
_GAP = 84  # between parallel axes
_MANY = 150  # lines, from where on those of controls are as thin as all others
_AXIS_TOP, _AXIS_BOTTOM, _AXIS_END = 34, 270, 304


def slice_svg(drawn: Slice, score: Scale, label: str) -> Html:
    """The score over one parameter."""
    across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    floor = _TOP + up
    parts = []
    for place, words in score.ticks():
        y = _short(floor - place * up)
        parts.append(Html(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'))
        parts.append(_words(words, _LEFT - 5, float(y) + 4, "end"))
    for place, words in _with_room(drawn.scale.ticks(), across):
        parts.append(_words(words, _LEFT + place * across, _HEIGHT - 7, "middle"))
    parts.append(Html(f'<path class="axis" d="M{_LEFT} {floor}H{_WIDTH - _RIGHT}"/>'))

    def spot(point: SlicePoint) -> tuple[str, str]:
        return _short(_LEFT + point.across * across), _short(floor - point.up * up)

    dots = [spot(point) for point in drawn.points if point.group == "dominated"]
    if dots:
        path = "".join(f"M{x} {y}h0" for x, y in dots)
        parts.append(Html(f'<path class="dots" d="{path}"/>'))
    for group, radius in (("control", 3.2), ("front", 4)):
        for point in drawn.points:
            if point.group == group:
                x, y = spot(point)
                parts.append(_circle(x, y, radius, group, point))
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return tag("svg", *parts, viewBox=box, class_="small", role="img", aria_label=label)


def _circle(x: str, y: str, radius: float, group: str, point: SlicePoint) -> Html:
    title = f"<title>{text(point.words)}</title>"
    return Html(
        f'<circle class="{group}" cx="{x}" cy="{y}" r="{radius:g}" data-trial="{point.trial}">'
        f"{title}</circle>"
    )


def _with_room(ticks: Sequence[tuple[float, str]], pixels: float) -> list[tuple[float, str]]:
    """The ticks whose words, six pixels a letter, touch no word before them."""
    kept: list[tuple[float, str]] = []
    end = -1e9
    for place, words in ticks:
        words = _shortened(words)
        half = 3.2 * len(words)
        if place * pixels - half >= end + 5:
            kept.append((place, words))
            end = place * pixels + half
    return kept


def parallel_svg(info: ParallelInfo, label: str) -> Html:
    """Every student as a line across the axes; a value that does not apply lies below its axis."""
    width = _GAP * (len(info.axes) - 1) + 128
    parts = []
    for group in ("dominated", "control", "front"):
        lines = [line for line in info.lines if line.group == group]
        if group == "dominated":
            if lines:
                path = "".join(_path(line) for line in lines)
                parts.append(Html(f'<path class="lines" d="{path}"/>'))
            continue
        parts += [
            Html(
                f'<path class="line {group}" d="{_path(line)}" data-trial="{line.trial}">'
                f"<title>{text(line.words)}</title></path>"
            )
            for line in lines
        ]
    for place, scale in enumerate(info.axes):
        x = _x(place)
        parts.append(Html(f'<path class="axis" d="M{x:g} {_AXIS_TOP}V{_AXIS_BOTTOM}"/>'))
        name = scale.name.replace("_", " ")
        strong = place >= len(info.axes) - 2
        parts.append(_words(name, x, 16, "middle", strong=strong))
        for share, words in scale.ticks():
            parts.append(_words(words, x + 5, _y(share) + 4, "start", halo=True))
    parts.append(_words("not used", 4, _AXIS_END + 4, "start"))
    box = f"0 0 {width:g} {_AXIS_END + 12}"
    kind = "small many" if len(info.lines) > _MANY else "small"
    style = f"min-width:{width * 0.82:.0f}px"
    return tag("svg", *parts, viewBox=box, class_=kind, role="img", aria_label=label, style=style)


def _path(line: Line) -> str:
    points = [f"{_x(i):g} {_short(_y(place))}" for i, place in enumerate(line.places)]
    return "M" + "L".join(points)


def _x(place: int) -> float:
    return 64 + _GAP * place


def _y(share: float | None) -> float:
    if share is None:
        return _AXIS_END
    return _AXIS_BOTTOM - share * (_AXIS_BOTTOM - _AXIS_TOP)


def _words(
    words: str, x: float, y: float, anchor: str, *, strong: bool = False, halo: bool = False
) -> Html:
    classes = " ".join(name for name, on in (("strong", strong), ("halo", halo)) if on)
    shown = _shortened(words)
    full = Html(f"<title>{text(words)}</title>") if shown != words else None
    return tag("text", join([shown, full]), x=_short(x), y=_short(y), text_anchor=anchor,
               class_=classes or None)  # fmt: skip


def _shortened(words: str) -> str:
    return words if len(words) <= _LETTERS else f"{words[: _LETTERS - 1].rstrip()}…"


def _short(number: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{number:.1f}".removesuffix(".0")


_MARKS = {
    "front": '<circle class="front" cx="8" cy="8" r="4.5"/>',
    "dominated": '<path class="dots" d="M8 8h0"/>',
    "control": '<circle class="control" cx="8" cy="8" r="4"/>',
}
_LINES = {
    "front": '<path class="line front" d="M0 8H16"/>',
    "dominated": '<path class="lines" d="M0 8H16"/>',
    "control": '<path class="line control" d="M0 8H16"/>',
}


def legend(groups: Iterable[tuple[str, str]], *, lines: bool = False) -> Html:
    """What the marks of a small chart, or its lines, mean: (group, name)."""
    drawn = _LINES if lines else _MARKS
    items = [
        tag(
            "li",
            Html(f'<svg class="small" viewBox="0 0 16 16" aria-hidden="true">{drawn[group]}</svg>'),
            name,
        )
        for group, name in groups
    ]
    return tag("ul", *items, class_="legend")
