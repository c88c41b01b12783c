"""Ten digits as two classes, 0 to 4 and 5 to 9: binary data whose natural subclasses are known.

After Müller, Kornblith, Hinton, "Subclass Distillation" (2020), which calls it MNIST-2x5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.distillation.image_data import DataError, ImageData, Split, hash_content

CLASSES = ("0-4", "5-9")
_TEN = tuple("0123456789")


@dataclass(frozen=True)
class Halves:
    """A data set of two classes.

    Attributes:
        of: The data set of ten whose images and splits it has.
        smallest_class: Images of its smaller class in the train split, as published.
    """

    of: str
    smallest_class: int


HALVES = {"digits2x5": Halves("digits", 609), "mnist2x5": Halves("mnist", 26_463)}


def in_halves(name: str, whole: ImageData) -> ImageData:
    """Return the same images in the same splits, labelled by half.

    Args:
        name: A key of `HALVES`.
        whole: The data set that it is of.

    Raises:
        DataError: Its classes are not the ten digits in order.
    """
    require_digits(name, whole.classes)
    train, validation, test = (
        Split(split.images, split.labels // 5)
        for split in (whole.train, whole.validation, whole.test)
    )
    return replace(
        whole,
        name=name,
        classes=CLASSES,
        train=train,
        validation=validation,
        test=test,
        content_hash=hash_content(CLASSES, whole.augmentation, (train, validation, test)),
        source=f"{whole.source}, two classes of five digits",
    )


def require_digits(name: str, classes: Sequence[str]) -> None:
    """Raise DataError unless `classes` are the ten digits in order.

    Args:
        name: A key of `HALVES`, for the message.
        classes: Class names of the data set that it is of, in label order.
    """
    if tuple(classes) != _TEN:
        raise DataError(
            f"{name} is {HALVES[name].of} by halves, and its classes are {', '.join(classes)}: "
            "name their folders 0 to 9"
        )
