"""A folder of paired images in the layout of pix2pix: what is in it, without decoding an image.

One file is one pair, its two halves side by side: `train/*`, and `val/*`, `test/*` or both.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from study.distillation.image_data import DataError
from study.distillation.image_folder import is_image_file, names_in

SPLITS = ("train", "val", "test")
PAIR_LAYOUT = "train/*, and val/* or test/*, each file two halves side by side"


@dataclass(frozen=True)
class PairFolder:
    """The files of a folder of pairs; names are sorted, which is the data-set order.

    Attributes:
        root: The folder that holds the splits.
        train: Paths of the training pairs.
        val: Of those that a study optimises on; none where some of `train` are to be held out.
        test: Of those that are scored once.
    """

    root: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    test: tuple[Path, ...]


def list_pairs(root: Path) -> PairFolder:
    """List the files of a folder of pairs and check everything that names alone can tell.

    Where there is no `test/`, as in the paired CityScapes, `val/` is what is scored once, and
    validation is held out of `train/`.

    Args:
        root: The folder that holds the splits.

    Raises:
        DataError: A split is missing or empty, or holds something else than images.
        OSError: A folder cannot be read.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}: give the path of a folder with {PAIR_LAYOUT}")
    there = [split for split in SPLITS if (root / split).is_dir()]
    missing = [split for split in ("train", "test") if split not in there]
    if missing == ["test"] and "val" in there:
        missing = []
    if missing:
        inner = [path for path in sorted(root.iterdir()) if (path / "train").is_dir()]
        mend = f"give {inner[0]}, which has one" if inner else f"lay it out as {PAIR_LAYOUT}"
        raise DataError(
            f"{root} has no {' and no '.join(f'{split}/' for split in missing)} "
            f"(found: {names_in(root)}): {mend}"
        )
    files = {split: _pairs_in(root / split) for split in there}
    if len(files["train"]) < 3:
        raise DataError(
            f"{root / 'train'} has {len(files['train'])} images, and a study needs 3 pairs (one "
            "may be held out for validation): add images"
        )
    val = files.get("val", ()) if "test" in files else ()
    test = files["test"] if "test" in files else files["val"]
    return PairFolder(root, files["train"], val, test)


def _pairs_in(split: Path) -> tuple[Path, ...]:
    entries = sorted(os.scandir(split), key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    if folders:
        raise DataError(
            f"{split} holds folders ({', '.join(folders[:3])}{', …' * (len(folders) > 3)}), as of "
            f"classes, and pairs of images are wanted: give a folder with {PAIR_LAYOUT}, or choose "
            "a space that learns classes"
        )
    files = tuple(Path(entry.path) for entry in entries if is_image_file(entry))
    if not files:
        raise DataError(f"{split} holds no image: add images, or remove the folder")
    return files
