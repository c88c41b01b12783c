"""Paired images: two halves of one file, in the layout that pix2pix's data sets have."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.distillation.image_data import DataError
from study.distillation.pair_data import DIGIT_PAIRS, describe, load, outlines

RED, BLUE = (200, 10, 10), (10, 10, 200)


def write_pair(
    path: Path, width: int = 32, height: int = 16, left: tuple[int, int, int] = RED
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(left, (0, 0, width // 2, height))
    image.save(path)


@pytest.fixture
def facades(tmp_path: Path) -> Path:
    """Red left halves, blue right halves: 12 train, 4 val and 3 test pairs of 16x16 pixels."""
    for split, count in (("train", 12), ("val", 4), ("test", 3)):
        for number in range(count):
            path = tmp_path / "facades" / split / f"{number:02}.png"
            write_pair(path, left=(200 + number, 10, 10))
    return tmp_path / "facades"


def test_x_is_the_left_half_and_y_the_right_half_of_each_file(facades: Path) -> None:
    data = load(str(facades), None)

    assert data.shape == (16, 16, 3)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12, 4, 3]
    assert data.train.x[:, 3, 5, 0].tolist() == list(range(200, 212))
    assert (data.train.y == BLUE).all()
    assert data.name == "facades"


def test_what_is_described_is_what_is_loaded(facades: Path) -> None:
    for folder in (str(facades), DIGIT_PAIRS):
        said, data = describe(folder, None), load(folder, None)
        got = (len(data.train), len(data.validation), len(data.test))
        assert (said.train, said.validation, said.test) == got
        assert said.name == data.name


def test_a_name_inside_the_data_folder_is_found(facades: Path) -> None:
    assert describe("facades", facades.parent).train == 12


def test_without_val_a_tenth_of_train_is_held_out_the_same_each_time(facades: Path) -> None:
    for file in (facades / "val").iterdir():
        file.unlink()
    (facades / "val").rmdir()

    first, again = load(str(facades), None), load(str(facades), None)

    assert (len(first.train), len(first.validation), len(first.test)) == (11, 1, 3)
    assert first.validation.x[0, 0, 0, 0] not in first.train.x[:, 0, 0, 0]
    assert first.content_hash == again.content_hash
    assert "1 validation, held out of train" in str(describe(str(facades), None))


def test_without_test_val_is_scored_once_and_validation_held_out_of_train(facades: Path) -> None:
    for file in (facades / "test").iterdir():
        file.unlink()
    (facades / "test").rmdir()

    data = load(str(facades), None)

    assert (len(data.train), len(data.validation), len(data.test)) == (11, 1, 4)


def test_halves_are_resized_whole_and_do_not_run_into_each_other(facades: Path) -> None:
    data = load(str(facades), None, image_size=8)

    assert data.shape == (8, 8, 3)
    assert (data.train.x[0] == (200, 10, 10)).all()
    assert (data.train.y[0] == BLUE).all()


def test_narrow_halves_become_squares(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(4):
            write_pair(tmp_path / split / f"{number}.png", width=16, height=32)

    assert load(str(tmp_path), None).shape == (32, 8, 3)
    assert load(str(tmp_path), None, image_size=16).shape == (16, 16, 3)


def test_the_hash_tells_pairs_and_flips_apart(facades: Path) -> None:
    data = load(str(facades), None)
    assert load(str(facades), None, augment=False).content_hash != data.content_hash
    write_pair(facades / "train" / "00.png", left=(1, 2, 3))
    assert load(str(facades), None).content_hash != data.content_hash


def test_pairs_may_be_mirrored_and_digits_may_not(facades: Path) -> None:
    assert load(str(facades), None).augmentation.flip
    assert not load(DIGIT_PAIRS, None).augmentation.flip


def test_digits_come_with_their_outlines_the_same_each_time() -> None:
    data = load(DIGIT_PAIRS, None)

    assert data.shape == (32, 32, 3)
    assert load(DIGIT_PAIRS, None).content_hash == data.content_hash
    assert (data.train.y == outlines(data.train.x[..., :1])).all()


def test_an_outline_is_where_the_grey_level_changes() -> None:
    image = np.zeros((1, 8, 8, 1), dtype=np.uint8)
    image[:, :, 4:] = 40

    found = outlines(image)[0, :, :, 0]

    assert (found[:, 3:5] == 80).all()
    assert (found[:, :3] == 0).all()
    assert (found[:, 5:] == 0).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: write_pair(root / "train" / "00.png", width=31), "00.png is 31 pixels wide"),
        (
            lambda root: write_pair(root / "train" / "05.png", height=20),
            "05.png is 32x20 pixels and .*00.png is 32x16",
        ),
        (lambda root: (root / "val" / "x.txt").write_text("?"), "x.txt is no image, by its ending"),
        (lambda root: (root / "test" / "a.png").write_text("?"), "a.png is no image that can be"),
        (lambda root: (root / "train").rename(root / "training"), "has no train/ .*training"),
        (lambda root: write_pair(root / "train" / "cat" / "0.png"), "holds folders .cat., as of"),
    ],
)
def test_what_is_no_folder_of_pairs_is_refused_by_name(
    facades: Path, spoil: object, message: str
) -> None:
    assert callable(spoil)
    spoil(facades)
    with pytest.raises(DataError, match=message):
        load(str(facades), None)


def test_a_file_of_odd_width_is_found_before_anything_is_decoded(facades: Path) -> None:
    write_pair(facades / "train" / "00.png", width=31)
    with pytest.raises(DataError, match="31 pixels wide, which does not divide into two halves"):
        describe(str(facades), None)


def test_a_data_set_of_classes_is_refused_with_the_mend(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            write_pair(tmp_path / "pets" / split / name / "0.png")

    with pytest.raises(DataError, match=r"holds folders .cat, dog., as of classes, and pairs"):
        describe(str(tmp_path / "pets"), None)
    with pytest.raises(DataError, match="'digits', did you mean 'digit_pairs'"):
        describe("digits", None)


def test_a_folder_that_holds_the_splits_one_level_down_is_named(facades: Path) -> None:
    with pytest.raises(DataError, match=f"give {facades}, which has one"):
        describe(str(facades.parent), None)


def test_describing_imports_neither_torch_nor_scikit_learn(facades: Path) -> None:
    code = (
        "import sys\n"
        "from study.distillation.pair_data import describe\n"
        f"describe({str(facades)!r}, None); describe('digit_pairs', None)\n"
        "print(*sorted({'torch', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
