"""What every data set becomes: uint8 arrays in three splits, their statistics and their hash."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

# Part of every stored teacher and of its outputs, through the content hash: never change it.
_HOLD_OUT_KEY = 20_150_309
_PIXELS_AT_ONCE = 1 << 20


class DataError(ValueError):
    """A data set cannot be had or used; the message is one line with the value and the mend."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one split, in data-set order.

    Attributes:
        images: uint8 `(n, height, width, channels)`, C-contiguous.
        labels: int64 `(n,)`, numbers of the data set's `classes`.
    """

    images: Images
    labels: Rows

    def __post_init__(self) -> None:
        """Hold the shapes, types and memory order that the device code relies on."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(f"images are {self.images.dtype} {self.images.shape}, not uint8 nhwc")
        if not self.images.flags.c_contiguous:
            raise ValueError("images are not C-contiguous")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels are {self.labels.dtype} {self.labels.shape} "
                f"for {len(self.images)} images, not int64 (n,)"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, rows: Rows) -> "Split":
        """Return the images and labels of `rows` (int64 `(k,)`), copied, in that order."""
        return Split(np.ascontiguousarray(self.images[rows]), self.labels[rows])


@dataclass(frozen=True)
class Augmentation:
    """How a training view differs from the image itself.

    Attributes:
        pad: Pixels of black added on every side before a crop of the old size.
        flip: Whether half of the crops are mirrored left to right.
    """

    pad: int
    flip: bool


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set as every part of a study sees it.

    Attributes:
        name: Short name, e.g. `cifar10`, or the folder's name.
        classes: Class names; a label is an index into them.
        train: What students and teacher learn from.
        validation: Held out of the training data; what a study optimises on.
        test: Scored once, on a finished front.
        mean: Mean of each channel over the train split, scale 0..1.
        std: Standard deviation of each channel over the train split, scale 0..1, above 0.
        augmentation: The padding and flip of the training views.
        content_hash: SHA-256 in hex of classes, augmentation and the arrays of all three splits.
        source: Where it came from, for people, e.g. `image folder cifar10`.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    content_hash: str
    source: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


def assemble(
    name: str,
    classes: Sequence[str],
    train: Split,
    test: Split,
    *,
    validation_fraction: float,
    augmentation: Augmentation,
    source: str,
    held_out: int | None = None,
) -> ImageData:
    """Hold out the validation split, take the statistics and the hash.

    Args:
        name: Short name of the data set.
        classes: Class names in label order.
        train: The whole training data.
        test: The test split.
        validation_fraction: Share of each class of `train` to hold out.
        augmentation: Padding and flip of the training views.
        source: Description for people.
        held_out: How many rows at the end of `train` are the validation split; None to choose.

    Raises:
        DataError: A class has fewer than 2 training images, and rows are to be chosen.
    """
    if held_out is None:
        kept, chosen = hold_out(train.labels, validation_fraction, classes)
    else:
        kept, chosen = np.split(np.arange(len(train.labels)), [-held_out])
    learned, validation = train.take(kept), train.take(chosen)
    mean, std = channel_statistics(learned.images)
    return ImageData(
        name=name,
        classes=tuple(classes),
        train=learned,
        validation=validation,
        test=test,
        mean=mean,
        std=std,
        augmentation=augmentation,
        content_hash=hash_content(classes, augmentation, (learned, validation, test)),
        source=source,
    )


def held_out_of(count: int, fraction: float) -> int:
    """Return how many of a class's `count` images are held out: rounded, and at least 1."""
    return max(1, int(count * fraction + 0.5))


def hold_out(labels: Rows, fraction: float, classes: Sequence[str]) -> tuple[Rows, Rows]:
    """Choose a stratified share of the rows, the same for every study.

    Each class orders its rows by raw Philox words under a constant key (a stream that numpy keeps
    across versions) and gives up the first `held_out_of` of them.

    Args:
        labels: int64 `(n,)`.
        fraction: Share of each class to hold out.
        classes: Class names, for the message.

    Returns:
        Rows kept and rows held out, each int64 and ascending, so in data-set order.

    Raises:
        DataError: A class has fewer than 2 images.
    """
    words = np.random.Philox(key=_HOLD_OUT_KEY).random_raw(len(labels))
    chosen = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        require_splittable(name, len(rows))
        order = np.argsort(words[rows], kind="stable")
        chosen[rows[order[: held_out_of(len(rows), fraction)]]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def held_out_rows(count: int, held_out: int) -> tuple[Rows, Rows]:
    """Choose `held_out` of `count` rows without regard to classes, the same for every study.

    Returns:
        Rows kept and rows held out, each int64 and ascending.
    """
    words = np.random.Philox(key=_HOLD_OUT_KEY).random_raw(count)
    order = np.argsort(words, kind="stable")
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def require_splittable(class_name: str, count: int) -> None:
    """Raise DataError when a class of `count` training images cannot give one to validation."""
    if count < 2:
        raise DataError(
            f"class {class_name!r} has {count} training image{'s' * (count != 1)}, and a study "
            "needs 2 (one is held out for validation): add images or remove the class"
        )


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, scale 0..1, from exact integer sums.

    A constant channel gets the deviation 1/255, one step of its scale, so that it can be divided
    by.

    Args:
        images: uint8 `(n, height, width, channels)`.
    """
    channels = images.shape[-1]
    pixels = images.reshape(-1, channels)
    total = np.zeros(channels, dtype=np.uint64)
    squares = np.zeros(channels, dtype=np.uint64)
    for start in range(0, len(pixels), _PIXELS_AT_ONCE):
        block = pixels[start : start + _PIXELS_AT_ONCE]
        for channel in range(channels):
            counts = np.bincount(block[:, channel], minlength=256).astype(np.uint64)
            levels = np.arange(256, dtype=np.uint64)
            total[channel] += (counts * levels).sum()
            squares[channel] += (counts * levels * levels).sum()
    mean = total / len(pixels)
    deviation = np.sqrt(np.maximum(squares / len(pixels) - mean**2, 0.0))
    return (
        tuple(float(value) for value in mean / 255),
        tuple(float(value) for value in np.maximum(deviation, 1.0) / 255),
    )


def hash_content(
    classes: Sequence[str], augmentation: Augmentation, splits: Sequence[Split]
) -> str:
    """Return the SHA-256 in hex of everything that shapes a model trained on these splits."""
    digest = hashlib.sha256()
    header = {
        "classes": list(classes),
        "augmentation": asdict(augmentation),
        "shapes": [split.images.shape for split in splits],
    }
    digest.update(json.dumps(header, sort_keys=True).encode())
    for split in splits:
        digest.update(split.images.data)
        digest.update(split.labels.astype("<i8").data)
    return digest.hexdigest()


def first_rows_per_class(split: Split, count: int, classes: Sequence[str] | None = None) -> Rows:
    """Return the rows of the first `count` images of each class, ascending.

    Args:
        split: Where to take them from.
        count: Images of each class.
        classes: Class names, for the message and to notice a class with no image at all.

    Returns:
        int64 `(count * number of classes,)`.

    Raises:
        DataError: A class has fewer than `count`, or `count` is below 1.
    """
    if count < 1:
        raise DataError(f"{count} images of each class asked: ask for 1 or more")
    number = len(classes) if classes is not None else int(split.labels.max(initial=-1)) + 1
    sizes = np.bincount(split.labels, minlength=number)
    smallest = int(sizes.argmin())
    if sizes[smallest] < count:
        name = repr(classes[smallest]) if classes is not None else f"number {smallest}"
        raise DataError(
            f"{count} images of each class asked, and class {name} has {sizes[smallest]}: "
            f"ask for {sizes[smallest]} or fewer"
        )
    rows = [np.flatnonzero(split.labels == label)[:count] for label in range(number)]
    return np.sort(np.concatenate(rows))


def first_per_class(split: Split, count: int, classes: Sequence[str] | None = None) -> Split:
    """Return the first `count` images of each class, in data-set order.

    Args:
        split: Where to take them from.
        count: Images of each class.
        classes: Class names, for the message.

    Raises:
        DataError: A class has fewer than `count`, or `count` is below 1.
    """
    return split.take(first_rows_per_class(split, count, classes))
