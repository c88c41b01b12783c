"""HTML that cannot be broken by a name: text is escaped unless it was made here."""

import json
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple


class Html(str):
    """Markup; any other string is text and gets escaped on its way into markup."""

    __slots__ = ()


Child = str | None


def text(content: str) -> Html:
    """Text as markup."""
    return Html(escape(content))


def join(children: Sequence[Child], separator: str = "") -> Html:
    """Children one after another; None is left out."""
    parts = [child if isinstance(child, Html) else escape(child) for child in children if child]
    return Html(separator.join(parts))


def tag(name: str, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """An element.

    Attribute names lose a trailing underscore, and other underscores become hyphens
    (`class_`, `data_value`); None and False leave the attribute out, True gives it no value.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        written.append(attribute if value is True else f'{attribute}="{escape(str(value))}"')
    opening = " ".join([name, *written])
    return Html(f"<{opening}>{join(children)}</{name}>")


def script_json(identifier: str, content: str) -> Html:
    """JSON text in a script element that the browser does not run.

    `<`, `>` and `&` are written as escapes, so that no string in it can close the element.
    """
    for character in "<>&\u2028\u2029":
        content = content.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{escape(identifier)}">{content}</script>')


def compact_json(content: Any) -> str:
    """JSON without spaces."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


class Cell(NamedTuple):
    """One table cell: what is shown, and the number it is sorted by (its text where None)."""

    shown: str
    order: float | None = None
    class_: str | None = None


class Head(NamedTuple):
    """One table column: its title, its unit, whether it holds numbers."""

    title: str
    unit: str = ""
    numeric: bool = True
    help: str | None = None


def sortable_table(
    identifier: str, caption: str, heads: Sequence[Head], rows: Sequence[Sequence[Cell]]
) -> Html:
    """A table in its own scrolling box, with a button in every column head that sorts by it."""
    return _boxed(identifier, caption, heads, rows, _sort_button)


def plain_table(
    identifier: str, caption: str, heads: Sequence[Head], rows: Sequence[Sequence[Cell]]
) -> Html:
    """A table in its own scrolling box."""
    return _boxed(identifier, caption, heads, rows, _title)


def _title(head: Head) -> Html:
    return join([head.title, _unit(head)])


def _unit(head: Head) -> Html | None:
    return tag("small", f" {head.unit}") if head.unit else None


def _sort_button(head: Head) -> Html:
    button = tag("button", head.title, type="button", title=head.help)
    return join([button, _unit(head)])


def _boxed(
    identifier: str,
    caption: str,
    heads: Sequence[Head],
    rows: Sequence[Sequence[Cell]],
    title: Callable[[Head], Html],
) -> Html:
    sorts = title is _sort_button
    head = [
        tag("th", title(h), scope="col", class_="n" if h.numeric else None,
            aria_sort="none" if sorts else None, title=None if sorts else h.help)
        for h in heads
    ]  # fmt: skip
    body = [table_row(heads, row) for row in rows]
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
        id=identifier,
        class_="sortable" if sorts else None,
    )
    return join([copy_buttons(identifier, caption), scroll_box(table, caption)])


def copy_buttons(identifier: str, caption: str) -> Html:
    """Buttons that copy a table as it stands, in its present order: CSV, Markdown or LaTeX."""
    buttons = [
        tag("button", name, type="button", data_copy=identifier, data_format=name.lower(),
            aria_label=f"Copy {caption} as {name}")
        for name in ("CSV", "Markdown", "LaTeX")
    ]  # fmt: skip
    return tag("div", tag("span", "Copy as", aria_hidden="true"), *buttons, class_="copy")


def table_row(heads: Sequence[Head], row: Sequence[Cell]) -> Html:
    """A table row whose first cell names it."""
    cells: list[Html] = []
    for head, cell in zip(heads, row, strict=True):
        classes = " ".join(c for c in ("n" if head.numeric else "", cell.class_) if c)
        cells.append(
            tag("td" if cells else "th", cell.shown, class_=classes or None,
                scope=None if cells else "row", data_order=_order(cell))
        )  # fmt: skip
    return Html(tag("tr", *cells) + "\n")


def _order(cell: Cell) -> str | None:
    """The number to sort by, unless what is shown says it."""
    plain = cell.shown.replace("\u2212", "-").replace(",", "").lstrip("+")
    if cell.order is None or plain.lstrip("-").replace(".", "", 1).isdigit():
        return None
    return f"{cell.order:.6g}"


def scroll_box(content: Html, label: str) -> Html:
    """A box that scrolls by itself, also with the keyboard, so that the page never does."""
    return tag("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)
