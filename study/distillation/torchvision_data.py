"""CIFAR-10 and MNIST as torchvision stores them, loads them and downloads them."""

import contextlib
import http.client
import socket
import struct
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.distillation.image_data import DataError, Split
from study.distillation.image_folder import LAYOUT, names_in

OFFLINE_COMMAND = "python -m study.launch --space cifar_blocks --data digits"

# Seconds for a server to answer the first question, and for each silence after it.
ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 30.0

_READ_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    AssertionError,
    EOFError,
    zlib.error,
    tarfile.TarError,
)


@dataclass(frozen=True)
class Layout:
    """Where torchvision keeps a data set below its root.

    Attributes:
        folder: The folder of the unpacked files.
        files: The unpacked files in it, all needed.
        archives: The files they are unpacked from, relative to the root.
        counts: Images of the train, validation and test splits, a tenth held out for validation.
        smallest_class: Images of the smallest class in the train split.
        classes: Class names in label order.
    """

    folder: str
    files: tuple[str, ...]
    archives: tuple[str, ...]
    counts: tuple[int, int, int]
    smallest_class: int
    classes: tuple[str, ...]


_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
LAYOUTS = {
    "cifar10": Layout(
        folder="cifar-10-batches-py",
        files=(*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
        archives=("cifar-10-python.tar.gz",),
        counts=(45_000, 5_000, 10_000),
        smallest_class=4_500,
        classes=_CIFAR10_CLASSES,
    ),
    "mnist": Layout(
        folder="MNIST/raw",
        files=_IDX,
        archives=tuple(f"MNIST/raw/{name}.gz" for name in _IDX),
        counts=(54_000, 6_000, 10_000),
        smallest_class=4_879,
        classes=tuple("0123456789"),
    ),
}


def find(name: str, root: Path) -> Path | None:
    """Return the folder or archive of `name` in torchvision's layout below `root`, if any.

    Args:
        name: A key of `LAYOUTS`.
        root: The data folder.

    Raises:
        DataError: Some of the files are there and others are missing.
    """
    layout = LAYOUTS[name]
    folder = root / layout.folder
    missing = [file for file in layout.files if not (folder / file).is_file()]
    if not missing:
        return folder
    archives = [root / archive for archive in layout.archives]
    if all(archive.is_file() for archive in archives):
        return archives[0]
    if len(missing) < len(layout.files) or any(archive.is_file() for archive in archives):
        packed = f" (nor {archives[0].name})" if len(archives) == 1 else " (nor their .gz)"
        raise DataError(
            f"{folder} has no {missing[0]}{packed}, so {name} is incomplete: put it back, or "
            f"remove {folder} and it is downloaded again"
        )
    return None


def load_splits(name: str, root: Path) -> tuple[Split, Split]:
    """Load train and test with torchvision's own reader, unpacking its archives where needed.

    Args:
        name: A key of `LAYOUTS`.
        root: The data folder, for which `find` has found something.

    Raises:
        DataError: A file is damaged; the message names it.
    """
    layout = LAYOUTS[name]
    folder = root / layout.folder
    unpacked = all((folder / file).is_file() for file in layout.files)
    _require_sound(name, root, unpacked)
    try:
        # The archives have just been checked: torchvision finds them sound and only unpacks.
        return _read(name, root, download=not unpacked)
    except _READ_ERRORS as error:
        mend = f"remove {folder}, and {name} is downloaded again"
        if not unpacked:
            mend = f"make {root} writable, or unpack it elsewhere and give --data-dir"
        raise DataError(
            f"{folder} cannot be {'read' if unpacked else 'unpacked'} ({_first_line(error)}): "
            f"{mend}"
        ) from error


def download(name: str, root: Path) -> tuple[Split, Split]:
    """Download with torchvision's own code, then load.

    Everything is written to a temporary folder inside `root` and moved when it is whole. A
    download that fails or is interrupted leaves nothing behind, `root` included if it was made
    here.

    Args:
        name: A key of `LAYOUTS`.
        root: The data folder; made when missing.

    Raises:
        DataError: The data cannot be had; the message names the three ways out.
    """
    try:
        with _folder_kept_on_success(root):
            _require_answer(_urls(name, _dataset(name)))
            with (
                _silence_limit(),
                tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary,
            ):
                splits = _read(name, Path(temporary), download=True)
                target = root / LAYOUTS[name].folder
                target.mkdir(parents=True, exist_ok=True)
                for file in (Path(temporary) / LAYOUTS[name].folder).iterdir():
                    file.replace(target / file.name)
                return splits
    except (*_READ_ERRORS, http.client.HTTPException) as error:
        held = f"holds {names_in(root)}" if root.is_dir() else "does not exist"
        raise DataError(
            f"{name} is not in {root}, which {held} (looked for {LAYOUTS[name].folder} and for "
            f"{LAYOUT}), and its download failed ({_first_line(error)}): run again with a "
            f"network, or give a folder that has it with --data-dir DIR, or start offline with "
            f"`{OFFLINE_COMMAND}`"
        ) from error


def _dataset(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "mnist": datasets.MNIST}[name]


def _read(name: str, root: Path, *, download: bool) -> tuple[Split, Split]:
    dataset = _dataset(name)
    with warnings.catch_warnings():
        # CIFAR-10's files are pickles of a numpy long gone, and numpy says so.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        train, test = (
            _split(dataset(root, train=part, download=download)) for part in (True, False)
        )
    return train, test


def _split(dataset: Any) -> Split:
    images = np.ascontiguousarray(np.asarray(dataset.data))
    if images.ndim == 3:
        images = images[:, :, :, None]
    return Split(images, np.asarray(dataset.targets, dtype=np.int64))


def _require_sound(name: str, root: Path, unpacked: bool) -> None:
    """Refuse, by name, the first file that fails torchvision's checksum or its own header."""
    from torchvision.datasets.utils import check_integrity

    layout = LAYOUTS[name]
    dataset = _dataset(name)
    folder = root / layout.folder
    sums: list[tuple[Path, str]] = []
    if not unpacked and name == "cifar10":
        sums = [(root / layout.archives[0], dataset.tgz_md5)]
    elif not unpacked:
        sums = [(folder / file, md5) for file, md5 in dataset.resources]
    elif name == "cifar10":
        meta = (dataset.meta["filename"], dataset.meta["md5"])
        listed = [*dataset.train_list, *dataset.test_list, meta]
        sums = [(folder / file, md5) for file, md5 in listed]
    for path, md5 in sums:
        if not check_integrity(path, md5):
            raise DataError(
                f"{path} is damaged (its MD5 is not the published {md5}): remove "
                f"{path if path.suffix == '.gz' else folder} and {name} is downloaded again"
            )
    if unpacked and name == "mnist":
        for images, labels in (_IDX[:2], _IDX[2:]):
            _require_sound_idx(folder / images, folder / labels)


def _require_sound_idx(images: Path, labels: Path) -> None:
    """Refuse IDX files whose length is not what their header says, or that differ in number."""
    counts = []
    for path, axes in ((images, 3), (labels, 1)):
        with path.open("rb") as handle:
            header = handle.read(4 * (axes + 1))
        expected = None
        if len(header) == 4 * (axes + 1):
            magic, *sizes = struct.unpack(f">{axes + 1}I", header)
            if magic == 0x0800 + axes:
                expected = len(header) + int(np.prod(sizes))
                counts.append(sizes[0])
        found = path.stat().st_size
        if found != expected:
            says = f"its header says {expected}" if expected else "its header is none of IDX"
            raise DataError(
                f"{path} is damaged ({found} bytes, {says}): remove {path.parent} and mnist is "
                "downloaded again"
            )
    if counts[0] != counts[1]:
        raise DataError(
            f"{images} has {counts[0]} images and {labels.name} {counts[1]} labels: remove "
            f"{images.parent} and mnist is downloaded again"
        )


def _urls(name: str, dataset: Any) -> list[str]:
    if name == "cifar10":
        return [dataset.url]
    return [f"{mirror}{dataset.resources[0][0]}" for mirror in dataset.mirrors]


def _require_answer(urls: Sequence[str]) -> None:
    """Raise the first server's error unless one of them answers within `ANSWER_SECONDS`.

    torchvision waits for ever, and a name with many addresses is tried one after another: on a
    network that drops packets that is minutes. So each server is asked in a thread of its own,
    whose answer is waited for once.
    """
    answered = threading.Event()
    errors: dict[str, BaseException] = {}

    def ask(url: str) -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                pass
        except urllib.error.HTTPError as answer:  # which it is, all the same
            answer.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            errors[url] = error
            if len(errors) == len(urls):
                answered.set()
            return
        answered.set()

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True, name="ask-mirror").start()
    if not answered.wait(ANSWER_SECONDS):
        raise TimeoutError(f"no answer from {urls[0]} within {ANSWER_SECONDS:g} s")
    if len(errors) == len(urls):
        raise OSError(f"{urls[0]}: {_reason(errors[urls[0]])}")


def _reason(error: BaseException) -> str:
    return str(error.reason if isinstance(error, urllib.error.URLError) else error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in _reason(error).splitlines() if line.strip()]
    return "; ".join(lines[:3]) or type(error).__name__


@contextlib.contextmanager
def _silence_limit() -> Iterator[None]:
    """Give up on a connection that is silent for `SILENCE_SECONDS`; torchvision sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _folder_kept_on_success(root: Path) -> Iterator[None]:
    """Make `root`, and on an exception remove again what was made, as far as it is empty."""
    made = [path for path in (root, *root.parents) if not path.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
