import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from study.distillation.data import DataError, ImageData, describe, load

WriteImage = WriteFolder = Callable[..., Any]


Maker = Callable[[Path], None]


def load_folder(root: Path, **options: object) -> ImageData:
    return load(str(root), None, cache_dir=None, **options)  # type: ignore[arg-type]


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_grey_files_keep_one_channel_only_when_all_are_grey(
    tmp_path: Path, write_image: WriteImage, write_folder: WriteFolder
) -> None:
    root = write_folder(tmp_path / "scans", mode="L")
    write_image(root / "train" / "cat" / "000.png", mode="1")
    grey = load_folder(root)
    assert grey.shape == (16, 16, 1)
    assert len(grey.mean) == 1
    write_image(root / "test" / "dog" / "002.png", mode="RGB")
    mixed = load_folder(root)
    assert mixed.shape == (16, 16, 3)
    assert np.array_equal(mixed.test.images[:-1], np.repeat(grey.test.images[:-1], 3, axis=3))
    assert np.array_equal(mixed.test.images[-1], read(root / "test" / "dog" / "002.png"))
    assert np.array_equal(mixed.train.images, np.repeat(grey.train.images, 3, axis=3))


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "CMYK"])
def test_other_modes_become_rgb(
    tmp_path: Path, mode: str, write_image: WriteImage, write_folder: WriteFolder
) -> None:
    root = write_folder(tmp_path / "mixed")
    suffix = "tif" if mode == "CMYK" else "png"
    (root / "test" / "cat" / "000.png").unlink()
    path = root / "test" / "cat" / f"000.{suffix}"
    write_image(path, mode=mode)
    data = load_folder(root)
    expected = np.asarray(Image.open(path).convert("RGB"))
    assert data.shape == (16, 16, 3)
    assert np.array_equal(data.test.images[0], expected)


def test_image_size_resizes_the_shorter_side_and_crops_the_centre(
    tmp_path: Path, write_image: WriteImage, write_folder: WriteFolder
) -> None:
    root = write_folder(tmp_path / "photos")
    path = root / "test" / "cat" / "000.png"
    write_image(path, size=(40, 20))
    tall = root / "test" / "cat" / "001.png"
    write_image(tall, size=(10, 30))
    data = load_folder(root, image_size=10)
    assert data.shape == (10, 10, 3)
    assert data.augmentation.pad == 1
    wide = Image.open(path).resize((20, 10), Image.Resampling.BILINEAR).crop((5, 0, 15, 10))
    assert np.array_equal(data.test.images[0], np.asarray(wide))
    assert np.array_equal(data.test.images[1], read(tall)[10:20])


def test_mixed_sizes_are_refused_by_the_first_odd_file_with_the_mend(
    pets: Path, write_image: WriteImage
) -> None:
    odd = pets / "train" / "dog" / "004.png"
    write_image(odd, size=(20, 24))
    write_image(pets / "train" / "dog" / "005.png", size=(8, 8))
    with pytest.raises(DataError) as caught:
        load_folder(pets)
    first = pets / "train" / "cat" / "000.png"
    assert str(caught.value) == (
        f"{odd} is 20x24 pixels and {first} is 16x16: give one size to all with --image-size 16"
    )
    assert load_folder(pets, image_size=16).shape == (16, 16, 3)


def test_rectangular_images_of_one_size_are_kept(tmp_path: Path, write_folder: WriteFolder) -> None:
    data = load_folder(write_folder(tmp_path / "wide", size=(24, 16)))
    assert data.shape == (16, 24, 3)
    assert data.augmentation.pad == 2


def test_images_too_small_for_a_network_are_refused_with_the_mend(
    tmp_path: Path, write_folder: WriteFolder
) -> None:
    root = write_folder(tmp_path / "tiny", size=(12, 6))
    with pytest.raises(DataError, match=r"are 6 pixels .* give --image-size 8 or more"):
        load_folder(root)
    for entry in (
        load_folder,
        lambda root, image_size: describe(str(root), None, image_size=image_size),
    ):
        with pytest.raises(DataError, match=r"--image-size 7 is too small: give 8 or more"):
            entry(root, image_size=7)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_text("this is no image")


def flip_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:64] = bytes(byte ^ 0xFF for byte in content[60:64])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncate, "is damaged ("),
        (empty, "is no image that can be read"),
        (garbage, "is no image that can be read"),
        (flip_bits, "is damaged ("),
    ],
)
def test_a_damaged_image_is_refused_by_name(pets: Path, harm: Maker, words: str) -> None:
    victim = pets / "test" / "dog" / "001.png"
    harm(victim)
    with pytest.raises(DataError) as caught:
        load_folder(pets)
    assert str(caught.value).startswith(f"{victim} {words}")
    assert str(caught.value).endswith(": remove or replace it")
    assert "\n" not in str(caught.value)


def test_a_truncated_jpeg_is_refused_even_where_pil_was_told_to_fill_it_in(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    victim = pets / "train" / "dog" / "010.jpg"
    victim.write_bytes(buffer.getvalue()[:-50])
    with pytest.raises(DataError, match=r"010.jpg is damaged \(.*truncated"):
        load_folder(pets)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_an_image_of_more_than_8_bits_is_refused_by_name(pets: Path) -> None:
    deep = pets / "train" / "cat" / "010.png"
    Image.fromarray(np.full((16, 16), 40_000, dtype=np.uint16)).save(deep)
    with pytest.raises(DataError, match=r"010.png has more than 8 bits .* convert it to 8 bits"):
        load_folder(pets)


def test_a_decompression_bomb_is_refused_by_name(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"000.png is damaged \(Image size"):
        load_folder(pets)


def test_a_failed_decode_leaves_no_thread_behind(pets: Path) -> None:
    garbage(pets / "train" / "cat" / "000.png")
    with pytest.raises(DataError):
        load_folder(pets)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_images_that_do_not_fit_in_memory_are_refused_with_the_mend(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}[name]
    )
    with pytest.raises(DataError, match=r"^26 images of 16x16x3 .* give a smaller --image-size$"):
        load_folder(pets)


def test_progress_ends_at_the_number_of_files(tmp_path: Path, write_folder: WriteFolder) -> None:
    root = write_folder(tmp_path / "many", train=60, test=10)
    told: list[tuple[str, int, int]] = []
    load_folder(root, progress=lambda *what: told.append(what))
    assert told == [("decoding many", done, 140) for done in (64, 128, 140)]
