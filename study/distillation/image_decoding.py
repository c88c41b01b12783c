"""From the files of an image folder to uint8 arrays, decoded once and kept in a cache file."""

import contextlib
import hashlib
import io
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from study.distillation.image_data import DataError, Images
from study.distillation.image_folder import SPLITS, ImageFolder

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Progress = Callable[[str, int, int], None]
Shaping = Callable[["Picture"], "Picture"]

_FORMAT = 1
_CHUNK = 64
_GREY = ("1", "L")
# PIL's whole-number and float modes hold more than 8 bits, and its conversion clips them.
_DEEP = ("I", "F")
# Two threads against one, on two cores: 3 % faster at 32 px, where the interpreter is the cost, 1.5
# times at 256 px, twice at 512 px.
_THREADS = 2
_MEMORY_SHARE = 0.4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodeSettings:
    """How the images are brought to one shape.

    Attributes:
        image_size: Side in pixels: the shorter side is resized to it (bilinear, antialiased), then
            the centre is cropped. None keeps the size, which all images must share.
        channels: 1 or 3; None gives 1 when every image is grey, and 3 otherwise.
    """

    image_size: int | None = None
    channels: int | None = None


def decode_folder(
    folder: ImageFolder,
    settings: DecodeSettings,
    *,
    cache_dir: Path | None,
    write_cache: bool = True,
    progress: Progress | None = None,
) -> tuple[Images, Images]:
    """Return the images of both splits, from the cache when the files are those it was made of.

    Args:
        folder: The files, as listed.
        settings: Size and channels asked for.
        cache_dir: Where `<hash>.npz` is looked for and written; None for neither.
        write_cache: Whether to write it.
        progress: Called as `progress(what, done, total)` while images are decoded.

    Returns:
        Train and test images, each uint8 `(n, height, width, channels)`, in the folder's order.

    Raises:
        DataError: A file is damaged, no image, of another size, or all are too large for memory.
    """
    cache = cache_dir / f"{_cache_key(folder, settings)}.npz" if cache_dir is not None else None
    counts = tuple(len(folder.files(split)) for split in SPLITS)
    if cache is not None:
        cached = _read_cache(cache, counts)
        if cached is not None:
            return cached
    images = _decode(
        [Path(path) for split in SPLITS for path in folder.files(split)],
        settings,
        progress or (lambda what, done, total: None),
        f"decoding {folder.root.name}",
    )
    train, test = images[: counts[0]], images[counts[0] :]
    if cache is not None and write_cache:
        _write_cache(cache, train, test)
    return train, test


def resize_images(images: Images, side: int) -> Images:
    """Resize each image to `side` as `DecodeSettings.image_size` does.

    Args:
        images: uint8 `(n, height, width, channels)`.
        side: New height and width.

    Returns:
        uint8 `(n, side, side, channels)`; `images` itself when it has that shape already.
    """
    from PIL import Image

    if images.shape[1:3] == (side, side):
        return images
    resized = np.empty((len(images), side, side, images.shape[3]), dtype=np.uint8)
    for row, image in enumerate(images):
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        resized[row] = np.asarray(_fit(picture, side)).reshape(resized.shape[1:])
    return resized


def _decode(
    paths: Sequence[Path], settings: DecodeSettings, progress: Progress, what: str
) -> Images:
    """Decode `paths` in order into one array, which turns to RGB at the first image in colour."""
    images: Images | None = None
    done = 0
    for chunk in decoded_chunks(paths, lambda path: _decode_file(path, settings)):
        for image in chunk:
            if images is None:
                images = allocate(len(paths), image.shape, paths[0])
            if image.shape[:2] != images.shape[1:3]:
                (height, width), (first_height, first_width) = image.shape[:2], images.shape[1:3]
                raise DataError(
                    f"{paths[done]} is {width}x{height} pixels and {paths[0]} is "
                    f"{first_width}x{first_height}: give one size to all with --image-size "
                    f"{min(first_height, first_width)}"
                )
            if image.shape[2] > images.shape[3]:
                wide = allocate(len(paths), image.shape, paths[done])
                wide[:done] = images[:done]
                images = wide
            images[done] = image
            done += 1
        progress(what, done, len(paths))
    assert images is not None
    return images


def allocate(count: int, shape: tuple[int, ...], path: Path) -> Images:
    """Return room for `count` images of `shape`, as that of `path`.

    Raises:
        DataError: They are too many for this machine's memory.
    """
    needed = count * int(np.prod(shape))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory * _MEMORY_SHARE:
        height, width, channels = shape
        raise DataError(
            f"{count} images of {width}x{height}x{channels} (as {path}) take "
            f"{needed / 2**30:.1f} GiB and this machine has {memory / 2**30:.1f}, of which "
            f"{_MEMORY_SHARE:.0%} may go to images: give a smaller --image-size"
        )
    return np.empty((count, *shape), dtype=np.uint8)


def decoded_chunks(
    paths: Sequence[Path], decode_one: Callable[[Path], Images]
) -> Iterator[list[Images]]:
    """Yield the decoded images in order, a list at a time; `decode_one` runs on threads."""
    from PIL import Image, ImageFile

    Image.preinit()  # the common formats first; init() would have each file tried by forty readers
    # A process-wide switch of PIL's: another library may have told it to invent missing rows.
    tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]

    def decode(chunk: Sequence[Path]) -> list[Images]:
        return [decode_one(path) for path in chunk]

    pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="decode")
    try:
        yield from pool.map(decode, chunks)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


def _decode_file(path: Path, settings: DecodeSettings) -> Images:
    """Decode one file to uint8 `(height, width, 1 or 3)`."""
    side = settings.image_size
    shaped: Shaping | None = None if side is None else lambda picture: _fit(picture, side)
    return decode_picture(path, settings.channels, shaped)


def decode_picture(path: Path, channels: int | None, shaped: Shaping | None = None) -> Images:
    """Decode one file.

    Args:
        path: The file.
        channels: 1 or 3; None gives 1 for a grey image, and 3 otherwise.
        shaped: Brings the decoded picture to its final shape.

    Returns:
        uint8 `(height, width, 1 or 3)`.

    Raises:
        DataError: It is damaged, no image, or has more than 8 bits a channel; or as `shaped` does.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # Read whole: opening by path costs PIL half as much again for small files.
        with Image.open(io.BytesIO(path.read_bytes())) as opened:
            opened.load()
            picture: Image.Image = opened
            if picture.mode.startswith(_DEEP):
                raise DataError(
                    f"{path} has more than 8 bits a channel (PIL mode {picture.mode!r}): convert "
                    "it to 8 bits"
                )
            grey = channels == 1 or (channels is None and picture.mode in _GREY)
            if "transparency" in picture.info:
                picture = picture.convert("RGBA")
            if picture.mode != (mode := "L" if grey else "RGB"):
                picture = picture.convert(mode)
            if shaped is not None:
                picture = shaped(picture)
            pixels: Images = np.asarray(picture)
            return pixels[:, :, None] if grey else pixels
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that can be read: remove or replace it") from None
    except Exception as error:  # what a decoder raises on damaged bytes has no common type
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path} is damaged ({reason}): remove or replace it") from error


def _fit(picture: "Picture", side: int) -> "Picture":
    """Resize the shorter side to `side`, then crop the centre."""
    from PIL.Image import Resampling

    width, height = picture.size
    if width <= height:
        wide, high = side, max(side, round(height * side / width))
    else:
        wide, high = max(side, round(width * side / height)), side
    if (wide, high) != picture.size:
        picture = picture.resize((wide, high), Resampling.BILINEAR)
    left, top = (wide - side) // 2, (high - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _cache_key(folder: ImageFolder, settings: DecodeSettings) -> str:
    """Hash the names, sizes and times of the files with all that shapes the arrays."""
    digest = hashlib.sha256()
    digest.update(json.dumps([_FORMAT, settings.image_size, settings.channels]).encode())
    prefix = len(os.fspath(folder.root)) + 1
    for split in SPLITS:
        digest.update(f"{split}\n".encode())
        for path in folder.files(split):
            status = os.stat(path)  # noqa: PTH116 - 60,000 of them
            line = f"{path[prefix:]}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _read_cache(path: Path, counts: tuple[int, ...]) -> tuple[Images, Images] | None:
    """Return the arrays of a cache file, or None when it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: list[npt.NDArray[Any]] = [stored[split] for split in SPLITS]
    except FileNotFoundError:
        return None
    except Exception as error:  # a flipped bit can surface anywhere in numpy or zipfile
        _log.warning("%s is damaged (%s): the images are decoded again", path, error)
        return None
    train, test = arrays
    if (
        any(array.dtype != np.uint8 or array.ndim != 4 for array in arrays)
        or (len(train), len(test)) != counts
        or train.shape[1:] != test.shape[1:]
    ):
        _log.warning("%s does not hold the images it is named for: they are decoded again", path)
        return None
    return train, test


def _write_cache(path: Path, train: Images, test: Images) -> None:
    """Write the arrays under a temporary name and rename; a full disk costs the cache alone."""
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, allow_pickle=False, train=train, test=test)
        temporary.replace(path)
    except OSError as error:
        _log.warning("%s could not be written (%s): images are decoded each time", path, error)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
