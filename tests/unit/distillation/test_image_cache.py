from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.distillation import image_decoding
from study.distillation.data import ImageData, load

WriteImage = WriteFolder = Callable[..., Any]


def load_cached(root: Path, **options: object) -> ImageData:
    return load(str(root), None, cache_dir=root.parent / "cache", **options)  # type: ignore[arg-type]


def files(root: Path) -> list[Path]:
    return sorted((root.parent / "cache").glob("*"))


def test_a_second_load_decodes_nothing_and_gives_the_same(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_cached(pets)
    (cache,) = files(pets)
    assert cache.suffix == ".npz"
    monkeypatch.setattr(image_decoding, "_decode_file", None)
    second = load_cached(pets)
    assert second.content_hash == first.content_hash
    assert np.array_equal(second.train.images, first.train.images)


@pytest.mark.parametrize("kept", [0, 100, -10])
def test_a_truncated_cache_is_decoded_again_and_mended(pets: Path, kept: int) -> None:
    first = load_cached(pets)
    (cache,) = files(pets)
    whole = cache.read_bytes()
    cache.write_bytes(whole[:kept])
    assert load_cached(pets).content_hash == first.content_hash
    assert cache.read_bytes() == whole


def test_a_cache_with_a_flipped_bit_is_decoded_again(pets: Path) -> None:
    first = load_cached(pets)
    (cache,) = files(pets)
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 1
    cache.write_bytes(content)
    assert load_cached(pets).content_hash == first.content_hash


def test_a_cache_that_holds_pickles_or_other_images_is_decoded_again(pets: Path) -> None:
    first = load_cached(pets)
    (cache,) = files(pets)
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(cache, allow_pickle=True, train=objects, test=objects)
    assert load_cached(pets).content_hash == first.content_hash
    np.savez(cache, train=first.train.images, test=first.test.images)
    assert load_cached(pets).content_hash == first.content_hash


def test_a_changed_file_or_setting_is_decoded_anew(pets: Path, write_image: WriteImage) -> None:
    first = load_cached(pets)
    changed = pets / "train" / "cat" / "000.png"
    write_image(changed, seed=99)
    assert load_cached(pets).content_hash != first.content_hash
    assert len(files(pets)) == 2
    assert load_cached(pets, image_size=8).shape == (8, 8, 3)
    assert len(files(pets)) == 3


def test_a_moved_folder_keeps_its_cache(pets: Path) -> None:
    load_cached(pets)
    moved = pets.rename(pets.parent / "moved")
    load_cached(moved)
    assert len(files(moved)) == 1


def test_nothing_is_written_when_told_not_to(pets: Path) -> None:
    load_cached(pets, write_cache=False)
    assert files(pets) == []


def test_a_cache_that_cannot_be_written_costs_the_cache_alone(
    pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (pets.parent / "cache").write_text("a file in the way")
    assert len(load_cached(pets).train) == 18
    assert "could not be written" in caplog.text


def test_a_write_that_fails_half_way_leaves_nothing(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(file: Path, **arrays: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    load_cached(pets)
    assert files(pets) == []
