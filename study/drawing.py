"""What a kind of illustration is, and what a worker hands back of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.illustration import IllustrationColumn
from analysis.results import TrialResult
from analysis.stored_plan import Space

if TYPE_CHECKING:
    from study.distillation.pictures import Png
    from study.trial_context import TrialContext

Trials = tuple[TrialResult, ...]


@dataclass(frozen=True)
class DrawnCell:
    """A picture with the words beside it; as :class:`analysis.illustration.Picture` has them."""

    png: "Png"
    alt: str
    note: str
    right: bool | None = None


@dataclass(frozen=True)
class Drawing:
    """An illustration as a worker drew it, not yet on the disk.

    Attributes:
        title: Its heading.
        caption: What is seen and how it was chosen; a paragraph a line.
        columns: From left to right.
        rows: From top to bottom, a cell for each column.
    """

    title: str
    caption: str
    columns: tuple[IllustrationColumn, ...]
    rows: tuple[tuple[DrawnCell, ...], ...]


@dataclass(frozen=True)
class Kind:
    """One kind of illustration, such as saliency maps.

    Attributes:
        name: In lower-case letters; the files' names begin with it.
        title: What it is called while it is drawn.
        subjects: ``(trials, space)`` to the groups of trials that it could be drawn of, the most
            telling first. It is drawn of the first whose students are all kept, once.
        draw: ``(context, trials, teacher checkpoint)`` to the drawing; called on a worker. The
            checkpoint is the path of ``--teacher``, or None.
    """

    name: str
    title: str
    subjects: Callable[[Sequence[TrialResult], Space], Iterator[Trials]]
    draw: "Callable[[TrialContext, Trials, str | None], Drawing]"
