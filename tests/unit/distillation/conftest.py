"""Image folders that tests make for themselves, and torch on one thread."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest


class WriteImage(Protocol):
    def __call__(
        self, path: Path, seed: int = 0, size: tuple[int, int] = (16, 16), mode: str = "RGB"
    ) -> None: ...


class WriteFolder(Protocol):
    def __call__(
        self,
        root: Path,
        train: int = 10,
        test: int = 3,
        classes: tuple[str, ...] = ("cat", "dog"),
        size: tuple[int, int] = (16, 16),
        mode: str = "RGB",
    ) -> Path: ...


def _write_image(
    path: Path, seed: int = 0, size: tuple[int, int] = (16, 16), mode: str = "RGB"
) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def _write_folder(
    root: Path,
    train: int = 10,
    test: int = 3,
    classes: tuple[str, ...] = ("cat", "dog"),
    size: tuple[int, int] = (16, 16),
    mode: str = "RGB",
) -> Path:
    seed = 0
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            for number in range(count):
                _write_image(root / split / name / f"{number:03}.png", seed, size, mode)
                seed += 1
    return root


@pytest.fixture
def write_image() -> WriteImage:
    """Writes a random image of (width, height)."""
    return _write_image


@pytest.fixture
def write_folder() -> WriteFolder:
    """Writes random images as train/CLASS/NNN.png and test/CLASS/NNN.png."""
    return _write_folder


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of 16x16 RGB images: 2 classes, 10 train and 3 test images of each."""
    return _write_folder(tmp_path / "pets")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that outnumber free cores wait for each other, and times mean little."""
    from study.distillation.answering import torch_threads

    with torch_threads(1):
        yield
