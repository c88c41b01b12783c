"""torchvision's own reader and downloader, on small data in its layouts and a server of ours."""

import gc
import gzip
import hashlib
import io
import pickle
import socket
import struct
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from study.distillation import torchvision_data
from study.distillation.data import DataError, describe, load
from study.distillation.image_data import Augmentation

BATCHES = "cifar-10-batches-py"
OFFLINE = "`python -m study.launch --space cifar_blocks --data digits`"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def cifar_files() -> dict[str, bytes]:
    """The seven files of CIFAR-10 with 20 images a batch."""
    generator = np.random.default_rng(0)
    files = {}
    for name in torchvision_data.LAYOUTS["cifar10"].files:
        if name == "batches.meta":
            files[name] = pickle.dumps({"label_names": [str(number) for number in range(10)]})
            continue
        pixels = generator.integers(0, 256, (20, 3072), dtype=np.uint8)
        labels = [number % 10 for number in range(20)]
        files[name] = pickle.dumps({"data": pixels, "labels": labels})
    return files


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{BATCHES}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def mnist_files() -> dict[str, bytes]:
    """The four files of MNIST with 60 and 20 images."""
    generator = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        files[f"{part}-images-idx3-ubyte"] = (
            struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes()
        )
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 0x801, count) + labels.tobytes()
    return files


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small CIFAR-10 files, whose checksums torchvision is told."""
    files = cifar_files()
    sums = {name: md5(content) for name, content in files.items()}
    train = [[name, sums[name]] for name in files if name.startswith("data")]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return files


@pytest.fixture
def cifar_archive(cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> bytes:
    packed = archive(cifar)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(packed))
    return packed


@pytest.fixture
def mnist_archives(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    packed = {f"{name}.gz": gzip.compress(content) for name, content in mnist_files().items()}
    resources = [(name, md5(content)) for name, content in packed.items()]
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return packed


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mirror on loopback that torchvision is told of; yields the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    point_to(f"http://127.0.0.1:{httpd.server_port}/", monkeypatch)
    yield folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def point_to(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{mirror}cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [mirror])


def load_here(name: str, root: Path) -> Any:
    return load(name, root, cache_dir=None)


def refusal(name: str, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_here(name, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_cifar10_is_read_in_torchvisions_layout(tmp_path: Path, cifar: dict[str, bytes]) -> None:
    write(tmp_path / BATCHES, cifar)
    summary = describe("cifar10", tmp_path)
    assert (summary.kind, summary.path) == ("torchvision", tmp_path / BATCHES)
    data = load_here("cifar10", tmp_path)
    assert data.source == "torchvision cifar10"
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert data.shape == (32, 32, 3)
    assert data.augmentation == Augmentation(pad=4, flip=True)
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    stored = pickle.loads(cifar["test_batch"])["data"].reshape(-1, 3, 32, 32)
    assert np.array_equal(data.test.images, stored.transpose(0, 2, 3, 1))
    assert data.test.labels.tolist() == [number % 10 for number in range(20)]


def test_mnist_is_read_in_torchvisions_layout_with_one_channel(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw", mnist_files())
    assert describe("mnist", tmp_path).kind == "torchvision"
    data = load_here("mnist", tmp_path)
    assert data.classes == tuple("0123456789")
    assert data.shape == (28, 28, 1)
    assert data.augmentation == Augmentation(pad=2, flip=False)
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 20)
    stored = np.frombuffer(mnist_files()["t10k-images-idx3-ubyte"][16:], np.uint8)
    assert np.array_equal(data.test.images.reshape(-1), stored)


def test_image_size_applies_to_torchvisions_data(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw", mnist_files())
    data = load("mnist", tmp_path, cache_dir=None, image_size=56)
    assert data.shape == (56, 56, 1)
    assert data.augmentation.pad == 4


def test_torchvisions_layout_goes_before_an_image_folder(
    tmp_path: Path, cifar: dict[str, bytes]
) -> None:
    write(tmp_path / BATCHES, cifar)
    (tmp_path / "train").mkdir()
    assert describe("cifar10", tmp_path).kind == "torchvision"


def test_archives_already_there_are_unpacked_without_a_network(
    tmp_path: Path,
    cifar_archive: bytes,
    mnist_archives: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", None)
    write(tmp_path, {"cifar-10-python.tar.gz": cifar_archive})
    write(tmp_path / "MNIST" / "raw", mnist_archives)
    assert describe("cifar10", tmp_path).path == tmp_path / "cifar-10-python.tar.gz"
    assert len(load_here("cifar10", tmp_path).test) == 20
    assert describe("mnist", tmp_path).kind == "torchvision"
    assert len(load_here("mnist", tmp_path).test) == 20


def test_a_damaged_batch_is_refused_by_name(tmp_path: Path, cifar: dict[str, bytes]) -> None:
    write(tmp_path / BATCHES, cifar)
    victim = tmp_path / BATCHES / "data_batch_3"
    victim.write_bytes(victim.read_bytes()[:-1])
    message = refusal("cifar10", tmp_path)
    assert message.startswith(f"{victim} is damaged (its MD5 is not the published ")
    assert f"remove {tmp_path / BATCHES} and cifar10 is downloaded again" in message


def test_a_damaged_archive_is_refused_by_name(
    tmp_path: Path, cifar_archive: bytes, mnist_archives: dict[str, bytes]
) -> None:
    packed = tmp_path / "cifar-10-python.tar.gz"
    packed.write_bytes(cifar_archive[:-10])
    assert refusal("cifar10", tmp_path).startswith(f"{packed} is damaged")
    raw = tmp_path / "MNIST" / "raw"
    write(raw, mnist_archives)
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    assert refusal("mnist", tmp_path).startswith(f"{raw / 't10k-labels-idx1-ubyte.gz'} is damaged")


def test_a_missing_batch_is_refused_by_name_before_anything_is_read(
    tmp_path: Path, cifar: dict[str, bytes]
) -> None:
    write(tmp_path / BATCHES, cifar)
    (tmp_path / BATCHES / "data_batch_2").unlink()
    with pytest.raises(DataError, match=r"has no data_batch_2 .*, so cifar10 is incomplete: put"):
        describe("cifar10", tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    write(raw, {"train-images-idx3-ubyte": b""})
    with pytest.raises(DataError, match=r"no train-labels-idx1-ubyte .*, so mnist is incomplete"):
        describe("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train-images-idx3-ubyte", struct.pack(">IIII", 0x803, 1, 28, 28), "its header says 800"),
        ("t10k-labels-idx1-ubyte", b"\0\0", "its header is none of IDX"),
        (
            "t10k-images-idx3-ubyte",
            gzip.compress(b"packed" * 9, mtime=0),
            "its header is none of IDX",
        ),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write(raw, {**mnist_files(), name: content})
    message = refusal("mnist", tmp_path)
    assert message.startswith(f"{raw / name} is damaged ({len(content)} bytes, {said}")
    assert message.endswith(f"remove {raw} and mnist is downloaded again")


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path) -> None:
    files = mnist_files()
    files["train-labels-idx1-ubyte"] = files["t10k-labels-idx1-ubyte"]
    write(tmp_path / "MNIST" / "raw", files)
    assert "has 60 images and train-labels-idx1-ubyte 20 labels" in refusal("mnist", tmp_path)


def test_cifar10_is_downloaded_by_torchvision_and_found_the_next_time(
    tmp_path: Path, server: Path, cifar_archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server, {"cifar-10-python.tar.gz": cifar_archive})
    root = tmp_path / "new" / "data"
    data = load_here("cifar10", root)
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    assert data.source == "torchvision cifar10"
    assert [path.name for path in root.iterdir()] == [BATCHES]
    monkeypatch.setattr(urllib.request, "urlopen", None)
    assert load_here("cifar10", root).content_hash == data.content_hash


def test_mnist_is_downloaded_by_torchvision_beside_what_is_there(
    tmp_path: Path, server: Path, mnist_archives: dict[str, bytes]
) -> None:
    write(server, mnist_archives)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    data = load_here("mnist", tmp_path)
    assert (len(data.train), len(data.test)) == (50, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST", "notes.txt", "served"]
    assert describe("mnist", tmp_path).kind == "torchvision"


def test_without_a_network_one_line_names_the_three_ways_out_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    point_to(f"http://127.0.0.1:{port}/", monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("cifar10", "mnist"):
        with pytest.raises(DataError) as caught:
            load(name, None, cache_dir=None)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"{name} is not in data, which does not exist (looked for ")
        assert "Connection refused" in message
        assert "run again with a network" in message
        assert "--data-dir DIR" in message
        assert message.endswith(OFFLINE)
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_without_any_layout_is_named_with_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    (tmp_path / "photos").mkdir()
    message = refusal("cifar10", tmp_path)
    assert message.startswith(
        f"cifar10 is not in {tmp_path}, which holds photos (looked for {BATCHES} and for "
        "train/CLASS/* and test/CLASS/*), and its download failed ("
    )
    assert "Name or service not known" in message
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_server_that_never_answers_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_data, "ANSWER_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        point_to(f"http://127.0.0.1:{silent.getsockname()[1]}/", monkeypatch)
        started = time.monotonic()
        message = refusal("cifar10", tmp_path / "data")
        assert time.monotonic() - started < 5
    assert message.endswith(OFFLINE)
    assert not (tmp_path / "data").exists()


def test_a_download_that_falls_silent_is_given_up_and_leaves_nothing(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def stall(handler: Quiet) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(b"x" * 1000)
            handler.wfile.flush()
            release.wait(20)

    monkeypatch.setattr(torchvision_data, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(Quiet, "do_GET", stall, raising=False)
    monkeypatch.setattr(Quiet, "do_HEAD", stall, raising=False)
    before = socket.getdefaulttimeout()
    message = refusal("cifar10", tmp_path / "data")
    release.set()
    assert "timed out" in message
    assert message.endswith(OFFLINE)
    assert socket.getdefaulttimeout() == before
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("kept", [0, -10])
def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(
    tmp_path: Path, server: Path, cifar_archive: bytes, kept: int
) -> None:
    write(server, {"cifar-10-python.tar.gz": cifar_archive[:kept]})
    message = refusal("cifar10", tmp_path / "data")
    assert "its download failed (File not found or corrupted.)" in message
    assert not (tmp_path / "data").exists()


# torchvision keeps the answer of a failed request open until it is collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_mirror_without_the_file_is_refused_and_leaves_the_users_folder(
    tmp_path: Path, server: Path, mnist_archives: dict[str, bytes]
) -> None:
    write(server, dict(list(mnist_archives.items())[:2]))
    root = tmp_path / "data"
    root.mkdir()
    message = refusal("mnist", root)
    assert "t10k-images-idx3-ubyte.gz" in message
    assert "404" in message
    assert message.endswith(OFFLINE)
    gc.collect()
    assert list(root.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision_data, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_here("mnist", tmp_path / "deep" / "data")
    assert not (tmp_path / "deep").exists()


def test_a_data_folder_that_cannot_be_made_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal("cifar10", tmp_path / "file" / "data")
    assert "Not a directory" in message
    assert message.endswith(OFFLINE)
