"""Data sets by name or path: `load` them into arrays, or `describe` what would be loaded.

`digits` comes with scikit-learn and needs no network. `cifar10` and `mnist` are looked for in the
data folder, in torchvision's layout and as an image folder, and else downloaded by torchvision.
`digits2x5` and `mnist2x5` are those with two classes, the digits 0 to 4 and 5 to 9. `mhist` is
looked for in the data folder too, as it is distributed, and never downloaded. Anything else is the
path of an image folder, `train/CLASS/*` and `test/CLASS/*`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from study.distillation import halves, mhist_data, torchvision_data
from study.distillation.image_data import (
    Augmentation,
    DataError,
    ImageData,
    Split,
    assemble,
    first_per_class,
    first_rows_per_class,
    held_out_of,
    hold_out,
)
from study.distillation.image_decoding import (
    DecodeSettings,
    Progress,
    decode_folder,
    resize_images,
)
from study.distillation.image_folder import (
    LAYOUT,
    ImageFolder,
    has_both_splits,
    is_meant_as_folder,
    list_images,
    unreadable_is_data_error,
)
from study.distillation.named_data import (
    DIGITS_COUNTS,
    DIGITS_SIDE,
    SMALLEST_SIDE,
    VALIDATION_FRACTION,
    find_path,
    load_grey_digits,
    require_side,
)

__all__ = [
    "DATASETS",
    "NAMES",
    "Augmentation",
    "DataError",
    "DataSummary",
    "ImageData",
    "Split",
    "augmentation_of",
    "describe",
    "first_per_class",
    "first_rows_per_class",
    "load",
]

DATASETS = ("digits", "cifar10", "mnist")
# With those that are others, labelled anew, and the one that access is granted to.
NAMES = (*DATASETS, *halves.HALVES, mhist_data.NAME)
DEFAULT_DATA_DIR = Path("data")

_DIGITS_TEST_FRACTION = 0.20
_DIGITS_VALIDATION_FRACTION = 0.15
_DIGITS_SMALLEST_CLASS = 118
_DIGITS = tuple("0123456789")

Kind = Literal["scikit-learn", "torchvision", "image folder", "annotated images", "download"]


@dataclass(frozen=True)
class DataSummary:
    """What `load` would load, found without decoding an image.

    Attributes:
        name: Short name of the data set.
        kind: Where it would come from.
        path: The folder or archive it would be read from, or the folder it would be downloaded
            into; None for scikit-learn's.
        classes: Class names in label order.
        train: Images left in the train split.
        validation: Images held out of the training data.
        test: Images of the test split.
        smallest_class: Images of the smallest class in the train split.
    """

    name: str
    kind: Kind
    path: Path | None
    classes: tuple[str, ...]
    train: int
    validation: int
    test: int
    smallest_class: int

    def __str__(self) -> str:
        """Return one line for people."""
        origin = {
            "scikit-learn": "from scikit-learn",
            "torchvision": f"from {self.path} in torchvision's layout",
            "image folder": f"from the image folder {self.path}",
            "annotated images": f"from the annotated images in {self.path}",
            "download": f"to be downloaded into {self.path}",
        }[self.kind]
        return (
            f"{self.name}: {len(self.classes)} classes, {self.train} train, "
            f"{self.validation} validation and {self.test} test images, {origin}"
        )


@dataclass(frozen=True)
class _Style:
    """How the images of a data set are seen: channels, padding as a share of the side, flip."""

    channels: int | None
    pad_divisor: int
    flip: bool


_STYLES = {
    "digits": _Style(channels=3, pad_divisor=16, flip=False),
    "cifar10": _Style(channels=3, pad_divisor=8, flip=True),
    "mnist": _Style(channels=1, pad_divisor=14, flip=False),
    "mhist": _Style(channels=3, pad_divisor=16, flip=True),
}
_OWN_STYLE = _Style(channels=None, pad_divisor=8, flip=True)


@dataclass(frozen=True)
class _Source:
    """Where a data set was found; `folder` lists its files where each is an image."""

    name: str
    kind: Kind
    root: Path
    folder: ImageFolder | None = None

    @property
    def style(self) -> _Style:
        return _STYLES.get(self.name, _OWN_STYLE)


def load(
    name_or_path: str,
    data_dir: Path | None,
    *,
    cache_dir: Path | None,
    image_size: int | None = None,
    augment: bool = True,
    progress: Progress | None = None,
    write_cache: bool = True,
    download: bool = True,
) -> ImageData:
    """Load a data set as arrays.

    Args:
        name_or_path: One of `NAMES`, or the path of an image folder.
        data_dir: Where `cifar10`, `mnist` and `mhist` are looked for, and the first two downloaded
            to; None for `data`.
        cache_dir: Where the decoded images of a folder are kept; None to decode them each time.
        image_size: Side in pixels that every image is brought to; None keeps their own.
        augment: Whether training views are padded crops, flipped where that fits the data;
            without, every view is the image itself.
        progress: Called as `progress(what, done, total)` while files are decoded.
        write_cache: Whether the cache may be written.
        download: Whether what is not there may be fetched.

    Raises:
        DataError: The data cannot be had, or is damaged, incomplete or too small.
    """
    require_side(image_size)
    if name_or_path in halves.HALVES:
        whole = load(
            halves.HALVES[name_or_path].of,
            data_dir,
            cache_dir=cache_dir,
            image_size=image_size,
            augment=augment,
            progress=progress,
            write_cache=write_cache,
            download=download,
        )
        return halves.in_halves(name_or_path, whole)
    with unreadable_is_data_error():
        source = _locate(name_or_path, data_dir)
        if source.kind == "scikit-learn":
            return _load_digits(image_size or DIGITS_SIDE, augment=augment)
        if source.folder is not None:
            folder = source.folder
            settings = DecodeSettings(image_size, source.style.channels)
            train_images, test_images = decode_folder(
                folder, settings, cache_dir=cache_dir, write_cache=write_cache, progress=progress
            )
            classes = folder.classes
            train = Split(train_images, np.array(folder.labels("train"), dtype=np.int64))
            test = Split(test_images, np.array(folder.labels("test"), dtype=np.int64))
        else:
            missing = source.kind == "download"
            if missing and not download:
                raise DataError(f"{source.name} is not in {source.root}")
            fetch = torchvision_data.download if missing else torchvision_data.load_splits
            classes = torchvision_data.LAYOUTS[source.name].classes
            train, test = fetch(source.name, source.root)
            if image_size is not None:
                train = Split(resize_images(train.images, image_size), train.labels)
                test = Split(resize_images(test.images, image_size), test.labels)
    described = "torchvision" if source.kind == "download" else source.kind
    return assemble(
        source.name,
        classes,
        train,
        test,
        validation_fraction=VALIDATION_FRACTION,
        augmentation=_augmentation(source.style, train, augment=augment),
        source=f"{described} {source.name}",
        held_out=None if source.folder is None else source.folder.held_out,
    )


def describe(
    name_or_path: str, data_dir: Path | None, *, image_size: int | None = None
) -> DataSummary:
    """Say what `load` would load, without decoding an image or asking the network.

    Takes 0.1 s for 60,000 files and imports neither torch nor scikit-learn.

    Args:
        name_or_path: One of `NAMES`, or the path of an image folder.
        data_dir: Where `cifar10`, `mnist` and `mhist` are looked for; None for `data`.
        image_size: Side in pixels that would be asked for.

    Raises:
        DataError: What names alone can tell: an unknown data set, a missing folder, split, class
            or file, too few classes or images.
    """
    require_side(image_size)
    if name_or_path in halves.HALVES:
        return _describe_halves(name_or_path, data_dir)
    with unreadable_is_data_error():
        source = _locate(name_or_path, data_dir)
        if source.kind == "scikit-learn":
            return DataSummary(
                "digits", source.kind, None, _DIGITS, *DIGITS_COUNTS, _DIGITS_SMALLEST_CLASS
            )
        if source.folder is None:
            layout = torchvision_data.LAYOUTS[source.name]
            path = source.root
            if source.kind == "torchvision":
                path = torchvision_data.find(source.name, source.root) or source.root
            return DataSummary(
                source.name,
                source.kind,
                path,
                layout.classes,
                *layout.counts,
                layout.smallest_class,
            )
    folder = source.folder
    learned = _learned(folder)
    return DataSummary(
        name=source.name,
        kind=source.kind,
        path=folder.root,
        classes=folder.classes,
        train=sum(learned),
        validation=len(folder.files("train")) - sum(learned),
        test=len(folder.files("test")),
        smallest_class=min(learned),
    )


def _learned(folder: ImageFolder) -> list[int]:
    """Images of each class that are not held out for validation."""
    counts = [len(files) for files in folder.train]
    if folder.validation is not None:
        return counts
    return [count - held_out_of(count, VALIDATION_FRACTION) for count in counts]


def augmentation_of(name: str, side: int, *, augment: bool) -> Augmentation:
    """Say how views of a data set differ, for images of `side` pixels at their shorter side.

    Args:
        name: As a `DataSummary` has it.
        side: Pixels.
        augment: As for `load`.
    """
    name = halves.HALVES[name].of if name in halves.HALVES else name
    return _augmentation_at(_STYLES.get(name, _OWN_STYLE), side, augment=augment)


def _describe_halves(name: str, data_dir: Path | None) -> DataSummary:
    whole = describe(halves.HALVES[name].of, data_dir)
    halves.require_digits(name, whole.classes)
    smallest = halves.HALVES[name].smallest_class
    if whole.kind == "image folder" and whole.path is not None:
        counts = _learned(list_images(whole.path))
        smallest = min(sum(counts[:5]), sum(counts[5:]))
    return replace(whole, name=name, classes=halves.CLASSES, smallest_class=smallest)


def _locate(name_or_path: str, data_dir: Path | None) -> _Source:
    """Find a data set: a known name, then a path, then a folder inside the data folder."""
    if name_or_path == "digits":
        return _Source("digits", "scikit-learn", Path())
    known_in = (data_dir or DEFAULT_DATA_DIR).expanduser()
    if name_or_path in DATASETS:
        return _locate_published(name_or_path, known_in)
    if name_or_path == mhist_data.NAME:
        root = mhist_data.find(known_in)
        return _Source(mhist_data.NAME, "annotated images", root, mhist_data.list_mhist(root))
    folder = f"an image folder with {LAYOUT}"
    path = find_path(name_or_path, data_dir, NAMES, "data set", folder)
    return _Source(path.resolve().name, "image folder", path, list_images(path))


def _locate_published(name: str, root: Path) -> _Source:
    """Find `cifar10` or `mnist` below `root`: torchvision's layout, an image folder, neither."""
    if root.exists() and not root.is_dir():
        raise DataError(f"the data folder {root} is a file: give a folder with --data-dir DIR")
    if torchvision_data.find(name, root) is not None:
        return _Source(name, "torchvision", root)
    places = (root, root / name)
    meant = [place for place in places if has_both_splits(place)]
    meant += [place for place in places if is_meant_as_folder(place)]
    if not meant:
        return _Source(name, "download", root)
    folder = list_images(meant[0])
    wanted = len(torchvision_data.LAYOUTS[name].classes)
    if len(folder.classes) != wanted:
        raise DataError(
            f"{folder.root} has {len(folder.classes)} classes and {name} has {wanted}: for a data "
            f"set of your own give its path, --data {folder.root}"
        )
    return _Source(name, "image folder", folder.root, folder)


def _load_digits(side: int, *, augment: bool) -> ImageData:
    """Load scikit-learn's 8x8 digits, levels 0..16, as RGB of `side` pixels, levels 0..255."""
    grey, labels = load_grey_digits(side)
    everything = Split(np.repeat(grey, 3, axis=3), labels)
    rest, tested = hold_out(labels, _DIGITS_TEST_FRACTION, _DIGITS)
    train = everything.take(rest)
    return assemble(
        "digits",
        _DIGITS,
        train,
        everything.take(tested),
        validation_fraction=_DIGITS_VALIDATION_FRACTION,
        augmentation=_augmentation(_STYLES["digits"], train, augment=augment),
        source="scikit-learn digits",
    )


def _augmentation(style: _Style, split: Split, *, augment: bool) -> Augmentation:
    side = min(split.images.shape[1:3])
    if side < SMALLEST_SIDE:
        raise DataError(
            f"the images are {side} pixels at their shorter side, and networks need "
            f"{SMALLEST_SIDE}: give --image-size {SMALLEST_SIDE} or more"
        )
    return _augmentation_at(style, side, augment=augment)


def _augmentation_at(style: _Style, side: int, *, augment: bool) -> Augmentation:
    if not augment:
        return Augmentation(pad=0, flip=False)
    return Augmentation(pad=side // style.pad_divisor, flip=style.flip)
