"""Small pictures that illustrate a study's results: what is kept of them, and their files.

A study draws them once its front is confirmed and keeps them as PNG files in a folder of its own;
the record names them with all the words that go beside them, so that no text is in a picture.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.stored import Stored

ATTR_ILLUSTRATIONS = "illustrations"  # user attribute of the study: a list of `Illustration`
ILLUSTRATIONS_FOLDER = "illustrations"

# Pictures go into the page: a record from elsewhere is to bring in neither another file of the
# reader's machine nor a large one.
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}\.png")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST_BYTES = 1 << 18


@dataclass(frozen=True)
class Picture(Stored):
    """One cell of an illustration.

    Args:
        file: name of the PNG in the study's folder of illustrations.
        width: of the picture, in its own pixels.
        height: likewise.
        alt: what it shows, for those who cannot see it.
        note: words under it, such as the class that was predicted; may be empty.
        right: whether what the note says is right; None where that is no question.
    """

    file: str
    width: int
    height: int
    alt: str
    note: str
    right: bool | None = None


@dataclass(frozen=True)
class IllustrationColumn(Stored):
    """A column: its title, and who or what it is in smaller words."""

    title: str
    note: str


@dataclass(frozen=True)
class IllustrationRow(Stored):
    """A row: a picture for each column."""

    cells: tuple[Picture, ...]


@dataclass(frozen=True)
class Illustration(Stored):
    """A table of small pictures.

    Args:
        name: its kind, such as `saliency`; a study has one of each.
        title: its heading.
        caption: what is seen, and how rows and trials were chosen.
        trials: numbers of the trials it is of.
        columns: from left to right.
        rows: from top to bottom.
    """

    name: str
    title: str
    caption: str
    trials: tuple[int, ...]
    columns: tuple[IllustrationColumn, ...]
    rows: tuple[IllustrationRow, ...]

    @property
    def files(self) -> Iterator[str]:
        """Names of its files."""
        return (cell.file for row in self.rows for cell in row.cells)


def read_pictures(study_folder: Path, illustrations: Iterable[Illustration]) -> Mapping[str, bytes]:
    """The files of some illustrations by name; what is missing or no small PNG is left out."""
    folder = study_folder / ILLUSTRATIONS_FOLDER
    found = {}
    for name in dict.fromkeys(name for each in illustrations for name in each.files):
        content = _read(folder / name) if _FILE_NAME.fullmatch(name) else None
        if content is not None:
            found[name] = content
    return found


def _read(path: Path) -> bytes | None:
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError:
        return None
    is_small_png = content.startswith(_SIGNATURE) and len(content) <= _LARGEST_BYTES
    return content if is_small_png else None
