"""The section of a report that shows a study's small pictures, as part of the page."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from analysis.illustration import Illustration, IllustrationRow, Picture
from analysis.markup import Html, scroll_box, tag
from analysis.sections.comparisons import section

_SHOWN_PIXELS = 112  # the longer side of a picture on the page, at most
_SMALL_PIXELS = 56  # up to here a picture's own pixels are shown, as squares


def gallery_section(
    illustrations: Sequence[Illustration], pictures: Mapping[str, bytes]
) -> Html | None:
    """Every illustration as a table of pictures.

    Args:
        illustrations: as the record has them.
        pictures: their PNG files by name.
    """
    shown = [_illustration(each, pictures) for each in illustrations if each.rows]
    return section("illustrations", "Illustrations", *shown) if shown else None


def _illustration(illustration: Illustration, pictures: Mapping[str, bytes]) -> Html:
    heads = [
        tag("th", column.title, tag("small", column.note) if column.note else None, scope="col")
        for column in illustration.columns
    ]
    table = tag(
        "table",
        tag("caption", illustration.title),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *(_row(row, pictures) for row in illustration.rows)),
        class_="pictures",
    )
    paragraphs = [tag("p", text) for text in illustration.caption.split("\n") if text]
    return tag(
        "figure",
        tag("h3", illustration.title),
        scroll_box(table, illustration.title),
        tag("figcaption", *paragraphs),
        class_="illustration",
    )


def _row(row: IllustrationRow, pictures: Mapping[str, bytes]) -> Html:
    cells = [_cell(cell, pictures.get(cell.file), head=i == 0) for i, cell in enumerate(row.cells)]
    return Html(tag("tr", *cells) + "\n")


def _cell(picture: Picture, content: bytes | None, *, head: bool) -> Html:
    image = tag("span", "picture missing", class_="missing")
    if content is not None:
        image = _image(picture, content)
    note = _note(picture) if picture.note else None
    return tag("th" if head else "td", image, note, scope="row" if head else None)


def _note(picture: Picture) -> Html:
    if picture.right is None:
        return tag("span", picture.note, class_="answer")
    sign, word = ("✓", "right: ") if picture.right else ("✗", "wrong: ")
    return tag(
        "span",
        tag("span", f"{sign}\u00a0", aria_hidden="true", class_="sign"),
        tag("span", word, class_="unseen"),
        picture.note,
        class_=f"answer {'right' if picture.right else 'wrong'}",
    )


def _image(picture: Picture, content: bytes) -> Html:
    longest = max(picture.width, picture.height, 1)
    is_small = longest <= _SMALL_PIXELS
    # Small pictures are enlarged by a whole number, so that their pixels stay equal squares.
    scale = _SHOWN_PIXELS // longest if is_small else _SHOWN_PIXELS / longest
    width, height = (max(1, round(side * scale)) for side in (picture.width, picture.height))
    data = base64.b64encode(content).decode("ascii")
    return Html(
        f'<img src="data:image/png;base64,{data}" alt="{escape(picture.alt)}" width="{width}"'
        f' height="{height}"{" class=small" if is_small else ""}>'
    )
