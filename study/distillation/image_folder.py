"""An image folder, `train/CLASS/*` and `test/CLASS/*`: what is in it, without opening an image.

A folder `val` beside them, of the same classes, is the validation split.
"""

import contextlib
import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.distillation.image_data import DataError, require_splittable

SPLITS = ("train", "test")
VALIDATION = "val"
LAYOUT = "train/CLASS/* and test/CLASS/*"

_IMAGE_ENDINGS = "bmp gif jfif jpeg jpg pbm pgm png ppm tif tiff webp"
_SUFFIXES = frozenset(f".{ending}" for ending in _IMAGE_ENDINGS.split(" "))
_NOTES = frozenset(["readme", "license", "licence", "notice", "copying", "credits", "attribution"])
_LITTER = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class ImageFolder:
    """The files of an image folder; names are sorted, which is the data-set order.

    Attributes:
        root: The folder that holds `train` and `test`.
        classes: Names of the class folders, the same in both splits.
        train: For each class, the paths of its images.
        test: For each class, the paths of its images.
        validation: Likewise; None where some of `train` is to be held out.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[tuple[str, ...], ...]
    test: tuple[tuple[str, ...], ...]
    validation: tuple[tuple[str, ...], ...] | None = None

    def files(self, split: str) -> list[str]:
        """Return the paths of one split, class after class; after `train` those of validation."""
        return [path for groups in self._parts(split) for group in groups for path in group]

    def labels(self, split: str) -> list[int]:
        """Return the class number of each path of `files(split)`."""
        return [
            label
            for groups in self._parts(split)
            for label, group in enumerate(groups)
            for _ in group
        ]

    def _parts(self, split: str) -> list[tuple[tuple[str, ...], ...]]:
        return [self.test] if split == "test" else [self.train, self.validation or ()]

    @property
    def held_out(self) -> int | None:
        """How many of `files("train")`, the last, are for validation; None if that is not said."""
        return None if self.validation is None else sum(map(len, self.validation))


def has_both_splits(root: Path) -> bool:
    """Tell whether `root` holds `train` and `test`."""
    return all((root / split).is_dir() for split in SPLITS)


def is_meant_as_folder(root: Path) -> bool:
    """Tell whether `root` holds a folder named like a split, so that an image folder is meant."""
    if not root.is_dir():
        return False
    meant = ("train", "training", "test", "testing")
    return any(path.name.lower() in meant and path.is_dir() for path in root.iterdir())


def is_image(name: str) -> bool:
    """Tell whether a file of that name is meant as an image; hidden files are not."""
    return not name.startswith(".") and Path(name).suffix.lower() in _SUFFIXES


def names_in(root: Path) -> str:
    """Return the first names in a folder for a message, `nothing` if there are none."""
    names = _visible(root)
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "") or "nothing"


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def list_images(root: Path) -> ImageFolder:
    """List the images of an image folder and check everything that names alone can tell.

    Class folders may hold folders of their own. Hidden files, `README` and `LICENSE` texts and
    the litter of file managers are passed over; anything else that is no image is refused.

    Args:
        root: The folder that holds `train` and `test`.

    Raises:
        DataError: A split or class is missing, empty, too small, or holds something else.
        OSError: A folder cannot be read.
    """
    _require_splits(root)
    train, test = (_list_split(root / split) for split in SPLITS)
    validation = _list_split(root / VALIDATION) if (root / VALIDATION).is_dir() else None
    splits = [("test", test)] + ([] if validation is None else [(VALIDATION, validation)])
    for name, split in splits:
        _require_same_classes(root / "train", train, root / name, split)
    if len(train) < 2:
        raise DataError(
            f"{root / 'train'} has {len(train)} class folder{'s' * (len(train) != 1)}: "
            f"a data set needs 2 classes or more, as {LAYOUT}"
        )
    if validation is None:
        for name, files in train.items():
            require_splittable(name, len(files))
    return ImageFolder(
        root,
        tuple(train),
        tuple(train.values()),
        tuple(test[name] for name in train),
        None if validation is None else tuple(validation[name] for name in train),
    )


def _require_same_classes(
    one: Path, ones: dict[str, tuple[str, ...]], other: Path, others: dict[str, tuple[str, ...]]
) -> None:
    """Refuse two splits of which one lacks a class of the other."""
    for here, there, mine, theirs in ((one, other, ones, others), (other, one, others, ones)):
        missing = sorted(mine.keys() - theirs.keys())
        if missing:
            raise DataError(
                f"class {missing[0]!r} is in {here} and not in {there}"
                f"{_nearest(missing[0], theirs)}: both need the same class folders"
            )


def _require_splits(root: Path) -> None:
    """Refuse a folder without `train` or `test`, saying what it has and what may be meant."""
    if not root.exists():
        raise DataError(
            f"there is no folder {root}{_nearest_sibling(root)}: give the path of a folder with "
            f"{LAYOUT}"
        )
    if not root.is_dir():
        raise DataError(f"{root} is a file: give the path of a folder with {LAYOUT}")
    missing = [split for split in SPLITS if not (root / split).is_dir()]
    if not missing:
        return
    names = _visible(root)
    inner = [name for name in names if has_both_splits(root / name)]
    if inner:
        mend = f"give {root / inner[0]}, which has them"
    else:
        mend = f"lay it out as {LAYOUT}"
        for split in missing:
            others = [name for name in names if name not in SPLITS]
            near = difflib.get_close_matches(split, [name.lower() for name in others], 1, 0.5)
            meant = [name for name in others if near and name.lower() == near[0]]
            if meant:
                mend = f"rename {meant[0]!r} to {split!r} if that is what it holds, or {mend}"
                break
            if split == "test" and "val" in names:
                mend = f"rename 'val' to 'test' if it is to be scored, or {mend}"
    raise DataError(
        f"{root} has no {' and no '.join(f'{split}/' for split in missing)} "
        f"(found: {names_in(root)}): {mend}"
    )


def _nearest(name: str, choices: Sequence[str] | dict[str, tuple[str, ...]]) -> str:
    near = difflib.get_close_matches(name, list(choices), 1)
    return f" (nearest there: {near[0]!r})" if near else ""


def _nearest_sibling(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return ""
    near = difflib.get_close_matches(
        path.name, [name for name in _visible(parent) if (parent / name).is_dir()], 1
    )
    return f" (nearest: {parent / near[0]})" if near else ""


def _list_split(split: Path) -> dict[str, tuple[str, ...]]:
    """Map the class folders of one split, sorted, to the sorted paths of their images."""
    listed = {}
    for entry in sorted(os.scandir(split), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            listed[entry.name] = tuple(_images_below(entry.path, f"class {entry.name!r}"))
            if not listed[entry.name]:
                raise DataError(
                    f"class folder {entry.path} holds no image: add images to it, or remove it "
                    "from every split"
                )
        elif Path(entry.name).suffix.lower() in _SUFFIXES:
            raise DataError(
                f"{entry.path} lies outside any class folder: move it into one (or, if it holds a "
                "pair of images side by side, choose a space that learns from pairs)"
            )
    return listed


def _images_below(folder: str, owner: str) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("."):
            if entry.is_symlink():
                raise DataError(
                    f"{entry.path} is a link to a folder inside {owner}: put the images there"
                )
            yield from _images_below(entry.path, owner)
        elif is_image_file(entry):
            yield entry.path


def is_image_file(entry: "os.DirEntry[str]") -> bool:
    """Tell whether a file is an image, by its name; False for what is passed over.

    Raises:
        DataError: It is something else, or leads nowhere.
    """
    name = entry.name.lower()
    if name.startswith(".") or name in _LITTER:
        return False
    stem, dot, ending = name.partition(".")
    if stem in _NOTES and ending in ("", "txt", "md"):
        return False
    suffix = "." + name.rpartition(".")[2] if dot else ""
    if not entry.is_file():
        raise DataError(f"{entry.path} leads to no file: remove it, or restore what it names")
    # A name without an ending may be an image: left to the decoder.
    if suffix and suffix not in _SUFFIXES:
        raise DataError(
            f"{entry.path} is no image, by its ending {suffix!r}: remove it, or convert it to "
            "png or jpg"
        )
    return True


@contextlib.contextmanager
def unreadable_is_data_error() -> Iterator[None]:
    """Turn what the file system refuses into a DataError that names the path."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or 'the data'} ({error.strerror or error}): make it "
            "readable, or give another folder"
        ) from error
