"""Paired images X and Y by name or path: `load` them into arrays, or `describe` what would be.

`digit_pairs` comes with scikit-learn: X is a digit, Y its outline. Anything else is the path of a
folder in the layout of pix2pix, see `pair_folder`. Its images are decoded at every start.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from study.distillation.image_data import (
    Augmentation,
    DataError,
    Images,
    Rows,
    held_out_of,
    held_out_rows,
)
from study.distillation.image_decoding import (
    Progress,
    allocate,
    decode_picture,
    decoded_chunks,
)
from study.distillation.image_folder import unreadable_is_data_error
from study.distillation.named_data import (
    DIGITS_COUNTS,
    DIGITS_SIDE,
    SMALLEST_SIDE,
    VALIDATION_FRACTION,
    find_path,
    load_grey_digits,
    require_side,
)
from study.distillation.pair_folder import PAIR_LAYOUT, PairFolder, list_pairs

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

DIGIT_PAIRS = "digit_pairs"
NAMES = (DIGIT_PAIRS,)

_CHANNELS = 3


@dataclass(frozen=True, eq=False)
class PairSplit:
    """Pairs of one split, in data-set order.

    Attributes:
        x: uint8 `(n, height, width, channels)`, C-contiguous.
        y: Likewise, of the same shape; row i belongs to row i of `x`.
    """

    x: Images
    y: Images

    def __post_init__(self) -> None:
        """Hold the shapes, types and memory order that the device code relies on."""
        for images in (self.x, self.y):
            if images.dtype != np.uint8 or images.ndim != 4 or not images.flags.c_contiguous:
                raise ValueError(
                    f"images are {images.dtype} {images.shape}, not C-contiguous uint8 nhwc"
                )
        if self.x.shape != self.y.shape:
            raise ValueError(f"{self.x.shape} and {self.y.shape} are no pairs of images")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.x)

    def take(self, rows: Rows) -> "PairSplit":
        """Return the pairs of `rows` (int64 `(k,)`), copied, in that order."""
        return PairSplit(np.ascontiguousarray(self.x[rows]), np.ascontiguousarray(self.y[rows]))


@dataclass(frozen=True, eq=False)
class PairData:
    """A data set of pairs, with the fields that every part of a study asks a data set for.

    Attributes:
        name: Short name, e.g. `digit_pairs`, or the folder's name.
        train: What students learn from.
        validation: What a study optimises on.
        test: Scored once, on a finished front.
        augmentation: Flip of the training views, of both halves alike.
        content_hash: SHA-256 in hex of the augmentation and the arrays of all three splits.
        source: Where it came from, for people.
    """

    name: str
    train: PairSplit
    validation: PairSplit
    test: PairSplit
    augmentation: Augmentation
    content_hash: str
    source: str

    classes: ClassVar[tuple[str, ...]] = ()
    num_classes: ClassVar[int] = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image, X or Y."""
        height, width, channels = self.train.x.shape[1:]
        return height, width, channels


@dataclass(frozen=True)
class PairSummary:
    """What `load` would load, found without decoding an image.

    Attributes:
        name: Short name of the data set.
        path: The folder it would be read from; None for scikit-learn's.
        train: Pairs left in the train split.
        validation: Pairs that a study optimises on.
        test: Pairs of the test split.
        held_out: Whether validation is held out of `train/`.
    """

    name: str
    path: Path | None
    train: int
    validation: int
    test: int
    held_out: bool

    classes: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        """Return one line for people."""
        origin = "from scikit-learn" if self.path is None else f"from {self.path}"
        held_out = ", held out of train" if self.held_out else ""
        return (
            f"{self.name}: pairs of images, {self.train} train, {self.validation} validation"
            f"{held_out} and {self.test} test, {origin}"
        )


def describe(name_or_path: str, data_dir: Path | None) -> PairSummary:
    """Say what `load` would load, decoding no more than the first file's header.

    Args:
        name_or_path: One of `NAMES`, or the path of a folder.
        data_dir: Where such a path is looked for, too.

    Raises:
        DataError: What names alone can tell: an unknown data set, a missing split, no pairs.
    """
    with unreadable_is_data_error():
        if name_or_path == DIGIT_PAIRS:
            return PairSummary(DIGIT_PAIRS, None, *DIGITS_COUNTS, held_out=True)
        folder = list_pairs(_find(name_or_path, data_dir))
        _size_of_halves(folder.train[0])
    train, validation = len(folder.train), len(folder.val)
    if not folder.val:
        validation = held_out_of(train, VALIDATION_FRACTION)
        train -= validation
    return PairSummary(
        folder.root.resolve().name,
        folder.root,
        train,
        validation,
        len(folder.test),
        held_out=not folder.val,
    )


def load(
    name_or_path: str,
    data_dir: Path | None,
    *,
    image_size: int | None = None,
    augment: bool = True,
    progress: Progress | None = None,
) -> PairData:
    """Load a data set of pairs as arrays.

    Args:
        name_or_path: One of `NAMES`, or the path of a folder.
        data_dir: Where such a path is looked for, too.
        image_size: Side in pixels that both halves are brought to, each as a whole, whatever its
            shape (pix2pix's own sets hold halves squeezed so); None keeps their own.
        augment: Whether training views may be mirrored; digits never are.
        progress: Called as `progress(what, done, total)` while files are decoded.

    Raises:
        DataError: The data cannot be had, or is damaged, incomplete or too small.
    """
    require_side(image_size)
    with unreadable_is_data_error():
        if name_or_path == DIGIT_PAIRS:
            train, validation, test = _digit_pairs(image_size or DIGITS_SIDE)
            return _assembled(
                DIGIT_PAIRS,
                (train, validation, test),
                Augmentation(pad=0, flip=False),
                "scikit-learn digits and their outlines",
            )
        folder = list_pairs(_find(name_or_path, data_dir))
        train, validation, test = _decode(folder, image_size, progress)
    source = f"folder of pairs {folder.root.resolve().name}"
    if not folder.val:
        kept, held_out = held_out_rows(len(train), held_out_of(len(train), VALIDATION_FRACTION))
        train, validation = train.take(kept), train.take(held_out)
    return _assembled(
        folder.root.resolve().name,
        (train, validation, test),
        Augmentation(pad=0, flip=augment),
        source,
    )


def _find(name_or_path: str, data_dir: Path | None) -> Path:
    folder = f"a folder with {PAIR_LAYOUT}"
    return find_path(name_or_path, data_dir, NAMES, "data set of pairs", folder)


def _size_of_halves(path: Path) -> tuple[int, int]:
    """Width and height of a half of the image at `path`, from its header."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that can be read: remove or replace it") from None
    if width % 2:
        raise DataError(
            f"{path} is {width} pixels wide, which does not divide into two halves: give pairs "
            "side by side in one image of even width"
        )
    return width // 2, height


def _decode(
    folder: PairFolder, side: int | None, progress: Progress | None
) -> tuple[PairSplit, PairSplit, PairSplit]:
    """Decode all files, the first of which says what size they share."""
    paths = [*folder.train, *folder.val, *folder.test]
    width, height = _size_of_halves(paths[0])
    wide, high = (width, height) if side is None else (side, side)
    if min(wide, high) < SMALLEST_SIDE:
        raise DataError(
            f"{paths[0]} holds halves of {wide}x{high} pixels, and networks need "
            f"{SMALLEST_SIDE} a side: give --image-size {SMALLEST_SIDE} or more"
        )

    def decode_one(path: Path) -> Images:
        return decode_picture(path, _CHANNELS, lambda picture: _resized(picture, path))

    def _resized(picture: "Picture", path: Path) -> "Picture":
        from PIL.Image import Resampling

        if picture.size != (2 * width, height):
            got = "x".join(map(str, picture.size))
            raise DataError(
                f"{path} is {got} pixels and {paths[0]} is {2 * width}x{height}: pairs of one "
                "data set have one size; remove it, or bring it to that size"
            )
        if (wide, high) == (width, height):
            return picture
        # Each half by itself, so that no pixel of one runs into the other.
        joined = picture.resize((2 * wide, high))
        for number in (0, 1):
            half = picture.crop((number * width, 0, (number + 1) * width, height))
            joined.paste(half.resize((wide, high), Resampling.BILINEAR), (number * wide, 0))
        return joined

    images = allocate(len(paths), (high, 2 * wide, _CHANNELS), paths[0])
    done = 0
    for chunk in decoded_chunks(paths, decode_one):
        images[done : done + len(chunk)] = chunk
        done += len(chunk)
        if progress is not None:
            progress(f"decoding {folder.root.name}", done, len(paths))
    halves = PairSplit(
        np.ascontiguousarray(images[:, :, :wide]), np.ascontiguousarray(images[:, :, wide:])
    )
    ends = np.cumsum([len(folder.train), len(folder.val)])
    train, val, test = np.split(np.arange(len(paths)), ends)
    return halves.take(train), halves.take(val), halves.take(test)


def _digit_pairs(side: int) -> tuple[PairSplit, PairSplit, PairSplit]:
    """Digits of `side` pixels as RGB, X, and their outlines, Y: where the grey level changes."""
    digits, _ = load_grey_digits(side)
    split = PairSplit(np.repeat(digits, 3, axis=3), np.repeat(outlines(digits), 3, axis=3))
    train, validation, test = DIGITS_COUNTS
    rest, tested = held_out_rows(train + validation + test, test)
    kept, held_out = held_out_rows(len(rest), validation)
    return split.take(rest[kept]), split.take(rest[held_out]), split.take(tested)


def outlines(images: Images) -> Images:
    """Length of the grey level's gradient (central differences), clipped to 255.

    Args:
        images: uint8 `(n, height, width, 1)`.

    Returns:
        uint8 of the same shape.
    """
    levels = images[..., 0].astype(np.float32)
    down, right = np.gradient(levels, axis=(1, 2))
    # Four times the gradient: an edge from black to white over four pixels is white.
    length = np.rint(np.minimum(4 * np.hypot(down, right), 255)).astype(np.uint8)
    return np.ascontiguousarray(length[..., None])


def _assembled(
    name: str,
    splits: tuple[PairSplit, PairSplit, PairSplit],
    augmentation: Augmentation,
    source: str,
) -> PairData:
    digest = hashlib.sha256()
    header = {
        "kind": "pairs",
        "augmentation": asdict(augmentation),
        "shapes": [split.x.shape for split in splits],
    }
    digest.update(json.dumps(header, sort_keys=True).encode())
    for split in splits:
        digest.update(split.x.data)
        digest.update(split.y.data)
    return PairData(name, *splits, augmentation, digest.hexdigest(), source)
