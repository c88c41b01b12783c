"""Images in the layout that MHIST is distributed in, made by tests: pale tissue, dark glands."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HEADER = (
    "Image Name",
    "Majority Vote Label",
    "Number of Annotators who Selected SSA (Out of 7)",
    "Partition",
)


def write_mhist(
    root: Path,
    train: tuple[int, int] = (44, 28),
    test: tuple[int, int] = (12, 7),
    side: int = 32,
) -> Path:
    """Writes so many images of (HP, SSA) for each partition; the counts are unequal, as MHIST's.

    The two classes differ in the size of their dark discs, and are not told apart by all.
    """
    rows: list[tuple[str, str, str, str]] = []
    generator = np.random.default_rng(0)
    for partition, counts in (("train", train), ("test", test)):
        for label, count in zip(("HP", "SSA"), counts, strict=True):
            for _ in range(count):
                votes = int(generator.integers(4, 8) if label == "SSA" else generator.integers(4))
                name = f"MHIST_{len(rows):04}.png"
                write_polyp(root / "images" / name, generator, side, 0.12 if label == "HP" else 0.2)
                rows.append((name, label, str(votes), partition))
    write_annotations(root, [rows[row] for row in generator.permutation(len(rows))])
    return root


def write_annotations(
    root: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER
) -> None:
    with (root / "annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def read_annotations(root: Path) -> list[list[str]]:
    with (root / "annotations.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def write_polyp(path: Path, generator: np.random.Generator, side: int, radius: float) -> None:
    """Writes a picture of six discs of about `radius`, as a share of the side."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side] / side
    pixels = np.full((side, side, 3), (230.0, 200.0, 220.0))
    for _ in range(6):
        centre, size = generator.random(2), radius * generator.normal(1, 0.15)
        pixels[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < size**2] = (120, 60, 140)
    pixels += generator.normal(0, 12, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
