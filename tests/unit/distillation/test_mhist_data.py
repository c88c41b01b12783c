"""MHIST in the layout that it is distributed in: what is read, and what is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mhist_images import HEADER, read_annotations, write_annotations, write_mhist
from PIL import Image

from study.distillation.data import DataError, ImageData, describe, load


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mhist(tmp_path_factory.mktemp("made") / "mhist", (20, 12), (6, 3), side=16)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of one's own, to be damaged."""
    shutil.copytree(made, tmp_path / "mhist")
    return tmp_path / "mhist"


def loaded(data_dir: Path) -> ImageData:
    return load("mhist", data_dir, cache_dir=None)


def test_partitions_are_those_of_the_annotations_and_validation_is_held_out_of_train(
    made: Path,
) -> None:
    data = loaded(made.parent)

    assert data.classes == ("HP", "SSA")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [29, 3, 9]
    assert np.bincount(data.validation.labels).tolist() == [2, 1]
    assert np.bincount(data.test.labels).tolist() == [6, 3]
    assert data.shape == (16, 16, 3)
    assert data.augmentation.flip


def test_images_carry_the_labels_of_their_lines(made: Path) -> None:
    data = loaded(made)
    rows = read_annotations(made)
    for label, name in enumerate(data.classes):
        listed = [row[0] for row in rows if (row[1], row[3]) == (name, "test")]
        expected = np.stack([np.asarray(Image.open(made / "images" / file)) for file in listed])
        assert np.array_equal(data.test.images[data.test.labels == label], expected)


@pytest.mark.parametrize("place", ["", "mhist", "MHIST"])
def test_it_is_found_in_the_data_folder_or_in_a_folder_of_its_name(
    place: str, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path / "data" / place)
    summary = describe("mhist", tmp_path / "data")

    assert (summary.train, summary.validation, summary.test) == (29, 3, 9)
    assert summary.smallest_class == 11
    assert f"from the annotated images in {tmp_path / 'data' / place}" in str(summary)


def test_an_image_size_brings_all_images_to_it(made: Path) -> None:
    assert load("mhist", made, cache_dir=None, image_size=24).shape == (24, 24, 3)


def test_decoding_shows_how_far_it_is_and_is_done_once(made: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    for _ in range(2):
        data = load("mhist", made, cache_dir=tmp_path, progress=lambda *at: seen.append(at))
    assert seen == [("decoding mhist", 41, 41)]
    assert data.content_hash == loaded(made).content_hash


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_without_it_the_place_to_apply_at_and_the_place_to_put_it_are_named(
    folder: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as refusal:
        loaded(tmp_path / folder)
    message = str(refusal.value)
    assert f"mhist is not in {tmp_path / folder}" in message
    assert "apply at https://bmirds.github.io/MHIST" in message
    assert f"into {tmp_path / folder / 'mhist'}" in message
    assert "--data-dir" in message
    assert "\n" not in message


@pytest.mark.parametrize("missing", ["annotations.csv", "images"])
def test_half_of_it_is_refused_by_the_name_of_the_other_half(missing: str, root: Path) -> None:
    (root / missing).rename(root.parent / "elsewhere")
    with pytest.raises(DataError, match=f"{root} has no {missing}"):
        describe("mhist", root.parent)


def rewritten(root: Path, column: int, value: str) -> str:
    """Gives one row another value; returns the name of its image."""
    rows = read_annotations(root)
    rows[3][column] = value
    write_annotations(root, rows)
    return rows[3][0]


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        (0, "MHIST_zzz.png", "MHIST_zzz.png is missing"),
        (1, "TVA", "Majority Vote Label 'TVA' is neither HP nor SSA"),
        (1, "", "Majority Vote Label '' is neither HP nor SSA"),
        (3, "valid", "Partition 'valid' is neither train nor test"),
    ],
)
def test_a_damaged_row_is_named_by_its_line(
    column: int, value: str, named: str, root: Path
) -> None:
    rewritten(root, column, value)
    with pytest.raises(DataError, match=f"annotations.csv, line 5: .*{named}"):
        describe("mhist", root)


def test_a_missing_column_is_named(root: Path) -> None:
    rows = [row[:3] for row in read_annotations(root)]
    write_annotations(root, rows, HEADER[:3])
    with pytest.raises(DataError, match="no column 'Partition', it has Image Name, Majority"):
        describe("mhist", root)


def test_a_row_that_is_cut_off_is_named(root: Path) -> None:
    path = root / "annotations.csv"
    path.write_text(path.read_text()[: path.read_text().rindex(",")])
    with pytest.raises(DataError, match=r"annotations.csv, line 42: it has not 4 fields"):
        describe("mhist", root)


def test_an_image_listed_twice_or_not_at_all_is_named(root: Path) -> None:
    rows = read_annotations(root)
    write_annotations(root, [*rows, rows[0]])
    with pytest.raises(DataError, match=f"line 43: {rows[0][0]} is listed twice"):
        describe("mhist", root)
    write_annotations(root, rows[:-1])
    with pytest.raises(DataError, match=f"{rows[-1][0]} is not in .* lists 40 images .* are 41"):
        describe("mhist", root)


def test_annotations_that_are_no_text_are_refused(root: Path) -> None:
    (root / "annotations.csv").write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    with pytest.raises(DataError, match=r"annotations.csv (is damaged|has no column)"):
        describe("mhist", root)


def test_a_damaged_image_is_named(root: Path) -> None:
    name = read_annotations(root)[7][0]
    (root / "images" / name).write_bytes(b"not an image")
    with pytest.raises(DataError, match=f"{name} is no image that can be read"):
        loaded(root)


def test_hidden_files_and_texts_beside_the_images_are_passed_over(root: Path) -> None:
    for name in ("._MHIST_0000.png", ".DS_Store", "README.txt"):
        (root / "images" / name).write_text("")
    assert describe("mhist", root).test == 9
