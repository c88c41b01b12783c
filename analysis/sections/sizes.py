"""The section with the bars of parameters and FLOPs, and what they say in a sentence."""

from analysis.charts.sizes import (
    GROUP_TITLES,
    QUANTITIES,
    TITLES,
    Bar,
    Quantity,
    Rows,
    SizesInfo,
    percent,
)
from analysis.formatting import significant
from analysis.markup import Html, tag
from analysis.sections.comparisons import section

_ROWS: dict[Rows, str] = {"published": "the published rows", "preset": "the preset's rows"}


def sizes_section(info: SizesInfo | None) -> Html | None:
    """Both panels, what they say in a sentence, and how FLOPs are counted."""
    if info is None:
        return None
    panels = [
        tag(
            "div",
            id=f"chart-{quantity}",
            class_="chart panel",
            role="img",
            style=f"height:{info.height}px",
            aria_label=_in_words(info, quantity),
        )
        for quantity in QUANTITIES
    ]
    entries = [tag("li", tag("i", class_=group), GROUP_TITLES[group]) for group in info.groups]
    return section(
        "sizes",
        "Parameters and FLOPs",
        tag("p", " ".join(_notes(info)), class_="note"),
        tag("ul", *entries, class_="bar-key"),
        tag("figure", *panels, class_="panels"),
    )


def _in_words(info: SizesInfo, quantity: Quantity) -> str:
    each = [f"{bar.name} {significant(bar.value(quantity))} M" for bar in info.bars]
    return f"{TITLES[quantity]}: {', '.join(each)}"


def _notes(info: SizesInfo) -> list[str]:
    distilled = info.teacher is not None and all(bar.group != "control" for bar in info.students)
    members = "the front's distilled students" if distilled else "the front's students"
    shown = members if info.rows is None else _ROWS[info.rows]
    order = "fastest first"
    if info.left_out:
        order += f", {info.left_out} between them left out"
    if info.failed:
        order += f", {info.failed} that failed left out"
    whose = f"The teacher and {shown}" if info.teacher else f"{shown[:1].upper()}{shown[1:]}"
    notes = [f"{whose}, {order}."]
    if info.teacher is not None:
        spans = [_span(info, info.teacher, quantity) for quantity in QUANTITIES]
        who = "The student has" if len(info.students) == 1 else "The students have"
        notes.append(
            f"{who} {spans[0]} of the teacher's parameters and {spans[1]} of its FLOPs"
            f"{_crossing(info, info.teacher)}; the dotted line is the teacher's."
        )
    notes.append("FLOPs are of one image; a multiply-accumulate counts as two (1 MAC = 2 FLOPs).")
    return notes


def _span(info: SizesInfo, teacher: Bar, quantity: Quantity) -> str:
    """The students' share of the teacher's figure, as one percentage or from least to most."""
    whole = teacher.value(quantity)
    if whole <= 0:
        return "an unknown share"
    shares = [bar.value(quantity) / whole for bar in info.students]
    low, high = percent(min(shares)), percent(max(shares))
    return low if low == high else f"{low} to {high}"


def _crossing(info: SizesInfo, teacher: Bar) -> str:
    """A clause on students that are larger than the teacher in one and smaller in the other."""
    larger = [
        bar
        for bar in info.students
        if bar.params_m > teacher.params_m and bar.flops_m < teacher.flops_m
    ]
    if not larger or len(info.students) == 1:
        return ""
    who = "all" if len(larger) == len(info.students) else f"{len(larger)} of them"
    return f" ({who} with more parameters and fewer FLOPs than the teacher)"
