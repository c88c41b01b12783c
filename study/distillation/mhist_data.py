"""MHIST as it is distributed: `annotations.csv` beside the folder `images`.

Wei et al., "A Petri Dish for Histopathology Image Analysis" (2021): 3,152 images of colorectal
polyps, 224 x 224 pixels, 2,175 to train on and 977 to test on. Seven pathologists labelled each as
a hyperplastic polyp (HP) or a sessile serrated adenoma (SSA); the label is what most of them said.
Access is by form, so nothing is downloaded.
"""

import csv
from pathlib import Path

from study.distillation.image_data import DataError, require_splittable
from study.distillation.image_folder import SPLITS, ImageFolder, is_image, names_in

NAME = "mhist"
PAGE = "https://bmirds.github.io/MHIST"
ANNOTATIONS, IMAGES = "annotations.csv", "images"
CLASSES = ("HP", "SSA")
SIDE = 224

_IMAGE, _LABEL, _PARTITION = "Image Name", "Majority Vote Label", "Partition"
_COLUMNS = (_IMAGE, _LABEL, "Number of Annotators who Selected SSA (Out of 7)", _PARTITION)


def find(data_dir: Path) -> Path:
    """Return the folder that holds the annotations and the images: `data_dir` or one in it.

    Raises:
        DataError: It is not there, or one of the two is missing; says where to apply for access.
    """
    places = (data_dir, data_dir / NAME, data_dir / NAME.upper())
    for root in places:
        parts = (root / ANNOTATIONS).is_file(), (root / IMAGES).is_dir()
        # A folder called `images` alone may be anybody's.
        if all(parts) or parts[0] or (parts[1] and root != data_dir):
            if all(parts):
                return root
            missing = IMAGES if parts[0] else ANNOTATIONS
            raise DataError(
                f"{root} has no {missing}, so {NAME} is incomplete: put {ANNOTATIONS} and the "
                f"unpacked folder {IMAGES} there, both as {PAGE} hands them out"
            )
    held = f"holds {names_in(data_dir)}" if data_dir.is_dir() else "does not exist"
    raise DataError(
        f"{NAME} is not in {data_dir}, which {held}: it is handed out on application, so apply at "
        f"{PAGE}, put its {ANNOTATIONS} and its unpacked folder {IMAGES} into {data_dir / NAME}, "
        "or name the folder they are in with --data-dir DIR"
    )


def list_mhist(root: Path) -> ImageFolder:
    """List the images by partition and class, in the order of the annotations.

    Args:
        root: A folder that `find` returned.

    Raises:
        DataError: The annotations are damaged, or are not those of these images; names the line.
    """
    path = root / ANNOTATIONS
    there = {file.name for file in (root / IMAGES).iterdir() if is_image(file.name)}
    files: dict[str, dict[str, list[str]]] = {s: {c: [] for c in CLASSES} for s in SPLITS}
    seen: set[str] = set()
    for line, row in _rows(path):
        name, label, split = (row[column].strip() for column in (_IMAGE, _LABEL, _PARTITION))
        for column, value, known in ((_LABEL, label, CLASSES), (_PARTITION, split, SPLITS)):
            if value not in known:
                raise DataError(
                    f"{path}, line {line}: {column} {value!r} is neither {' nor '.join(known)}: "
                    f"take the file as {PAGE} hands it out"
                )
        if name in seen:
            raise DataError(f"{path}, line {line}: {name} is listed twice: remove one of the lines")
        if name not in there:
            raise DataError(
                f"{path}, line {line}: {root / IMAGES / name} is missing: unpack the images again"
            )
        seen.add(name)
        files[split][label].append(str(root / IMAGES / name))
    unlisted = sorted(there - seen)
    if unlisted:
        raise DataError(
            f"{root / IMAGES / unlisted[0]} is not in {path}, which lists {len(seen)} images and "
            f"there are {len(there)}: take the file as {PAGE} hands it out"
        )
    for label in CLASSES:
        require_splittable(label, len(files["train"][label]))
    if not any(files["test"].values()):
        raise DataError(f"{path} lists no image of the partition test: take it as {PAGE} has it")
    train, test = (tuple(tuple(files[split][label]) for label in CLASSES) for split in SPLITS)
    return ImageFolder(root, CLASSES, train, test)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of the annotations, each with its line's number."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            missing = [column for column in _COLUMNS if column not in columns]
            if missing:
                raise DataError(
                    f"{path} has no column {missing[0]!r}, it has {', '.join(columns) or 'none'}: "
                    f"take the file as {PAGE} hands it out"
                )
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is damaged ({error}): take the file as {PAGE} hands it out"
        ) from None
    for line, row in rows:
        if None in row or None in row.values():
            raise DataError(
                f"{path}, line {line}: it has not {len(columns)} fields: "
                f"take the file as {PAGE} hands it out"
            )
    return rows
