"""What data sets of classes and of pairs have in common: how one is found, and the digits."""

import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from study.distillation.image_data import DataError, Images, Rows
from study.distillation.image_decoding import resize_images

# Below this the networks have nothing left to halve.
SMALLEST_SIDE = 8
# Of the training images, held out where a data set has no validation split of its own.
VALIDATION_FRACTION = 0.10

DIGITS_SIDE = 32
# Training, validation and test images of the digits.
DIGITS_COUNTS = (1222, 216, 359)


def require_side(image_size: int | None) -> None:
    """Refuse an `--image-size` that no network can work with.

    Raises:
        DataError: It is too small.
    """
    if image_size is not None and image_size < SMALLEST_SIDE:
        raise DataError(f"--image-size {image_size} is too small: give {SMALLEST_SIDE} or more")


def find_path(
    name_or_path: str, data_dir: Path | None, names: Sequence[str], what: str, folder: str
) -> Path:
    """Find a data set of one's own: a path, or a folder inside the data folder.

    Args:
        name_or_path: As given, and none of `names`.
        data_dir: Where it is looked for, too.
        names: Data sets that are known by name.
        what: Of what kind they are, for the message: `data set`.
        folder: What such a path leads to, for the message.

    Returns:
        The path, which may lead nowhere where more than a name was given.

    Raises:
        DataError: A bare name that is neither known nor there; the nearest known one is named.
    """
    path = Path(name_or_path).expanduser()
    if not path.exists() and data_dir is not None and (data_dir / path).expanduser().is_dir():
        return (data_dir / path).expanduser()
    if not path.exists() and "/" not in name_or_path:
        near = difflib.get_close_matches(name_or_path.lower(), names, 1, 0.4)
        meant = f", did you mean {near[0]!r}?" if near else "."
        raise DataError(
            f"no {what} {name_or_path!r}{meant} Choose {', '.join(names)}, or a path to {folder}"
        )
    return path


def load_grey_digits(side: int) -> tuple[Images, Rows]:
    """Load scikit-learn's 8x8 digits, levels 0..16, as one channel of levels 0..255.

    Returns:
        uint8 `(n, side, side, 1)` and int64 labels `(n,)`.
    """
    rows = _digit_rows()
    levels, labels = rows[:, :-1].reshape(-1, 8, 8, 1), rows[:, -1].astype(np.int64)
    return resize_images(np.rint(levels * (255 / 16)).astype(np.uint8), side), labels


def _digit_rows() -> npt.NDArray[np.float64]:
    """Read 64 levels and a label a row: `(1797, 65)`.

    From the file that scikit-learn's own function would read: to import that takes three seconds.
    """
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.exists():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])
