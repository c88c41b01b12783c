"""Checkpoints survive being cut short and damaged, and never load what is not whole."""

import errno
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from study.distillation import checkpoint
from study.distillation.checkpoint import CheckpointError, UnreadableError, previous_path

STATE = {
    "model": {"weight": torch.arange(300.0).reshape(3, 100), "steps": torch.tensor(7)},
    "optimizer": {"state": {0: {"momentum_buffer": None}}, "rates": [0.1, 0.05]},
    "epochs_done": 3,
    "name": "t0007",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t0007" / "last.pt"


def epoch(number: int) -> dict[str, object]:
    return {"epochs_done": number, "weight": torch.full((100,), float(number))}


def test_what_is_saved_comes_back(path: Path) -> None:
    checkpoint.save(path, STATE)
    loaded = checkpoint.load(path)
    assert torch.equal(loaded["model"]["weight"], STATE["model"]["weight"])  # type: ignore[index]
    assert loaded["optimizer"] == STATE["optimizer"]
    assert (loaded["epochs_done"], loaded["name"]) == (3, "t0007")
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_plain_torch_opens_it(path: Path) -> None:
    checkpoint.save(path, STATE)
    assert torch.load(path, weights_only=True)["name"] == "t0007"


def test_the_previous_one_is_kept_on_request(path: Path) -> None:
    checkpoint.save(path, epoch(1))
    checkpoint.save(path, epoch(2))
    checkpoint.save(path, epoch(3))
    assert checkpoint.load(path)["epochs_done"] == 3
    assert torch.load(previous_path(path), weights_only=True)["epochs_done"] == 2

    final = path.with_name("final.pt")
    checkpoint.save(final, epoch(1), keep_previous=False)
    checkpoint.save(final, epoch(2), keep_previous=False)
    assert checkpoint.load(final)["epochs_done"] == 2
    assert not previous_path(final).exists()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.97, 0.9999])
def test_a_truncated_file_gives_way_to_the_previous_one(
    path: Path, kept: float, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(path, epoch(1))
    checkpoint.save(path, epoch(2))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(path)["epochs_done"] == 1
    assert "previous checkpoint" in caplog.text


def test_a_flipped_bit_anywhere_is_found(path: Path) -> None:
    checkpoint.save(path, epoch(1))
    checkpoint.save(path, epoch(2))
    whole = path.read_bytes()
    places = {*range(0, len(whole), 53), *range(len(whole) - 100, len(whole))}
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        assert checkpoint.load(path)["epochs_done"] == 1, f"byte {place} of {len(whole)}"
    path.write_bytes(whole)
    assert checkpoint.load(path)["epochs_done"] == 2


def test_a_crash_between_the_two_renames_loses_nothing(path: Path) -> None:
    checkpoint.save(path, epoch(1))
    path.rename(previous_path(path))
    path.with_name("last.pt.0af1.partial").write_bytes(b"half of a checkpoint")
    assert checkpoint.load(path)["epochs_done"] == 1
    checkpoint.sweep(path)
    checkpoint.save(path, epoch(2))
    assert checkpoint.load(path)["epochs_done"] == 2
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.pt", "last.pt.previous"]


def test_a_writer_that_another_has_overtaken_leaves_a_whole_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is in the midst of writing while the second writes all of its own."""
    flush = os.fsync

    def overtaken(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", flush)
        checkpoint.save(path, epoch(2))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", overtaken)
    checkpoint.save(path, epoch(1))

    assert checkpoint.load(path)["epochs_done"] == 1
    assert checkpoint.load(previous_path(path))["epochs_done"] == 2
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.pt", "last.pt.previous"]


def test_what_killed_writers_left_is_swept_and_nothing_else(path: Path) -> None:
    checkpoint.save(path, epoch(1))
    checkpoint.save(path, epoch(2))
    for name in ("last.pt.0af1.partial", "last.pt.partial", "last.pt2.0af1.partial"):
        path.with_name(name).write_bytes(b"half")
    checkpoint.sweep(path)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        *("last.pt", "last.pt.previous", "last.pt2.0af1.partial")
    ]
    checkpoint.sweep(path.parent / "never" / "last.pt")


def test_nothing_whole_is_an_error_that_names_path_and_reasons(path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(path)
    checkpoint.save(path, epoch(1))
    checkpoint.save(path, epoch(2))
    path.write_bytes(b"PK")
    previous_path(path).unlink()
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    assert str(path) in str(error.value)
    assert "last.pt: the content does not match its checksum" in str(error.value)
    assert "last.pt.previous: no such file" in str(error.value)


def test_a_file_of_plain_torch_is_not_taken_for_a_checkpoint(path: Path) -> None:
    path.parent.mkdir()
    torch.save(epoch(1), path)
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(path)


@pytest.mark.parametrize("step", ["write", "flush", "rename"])
def test_a_failed_save_leaves_the_old_checkpoint(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(path, epoch(1))

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    target = {"write": (Path, "open"), "flush": (os, "fsync"), "rename": (Path, "replace")}[step]
    with monkeypatch.context() as patch:
        patch.setattr(*target, fail)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(path, epoch(2))
    assert checkpoint.load(path)["epochs_done"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_the_content_is_on_the_disk_before_it_takes_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(path, epoch(1))
    events: list[str] = []
    flushed: list[int] = []
    fsync, rename = os.fsync, Path.replace

    def flush(descriptor: int) -> None:
        events.append("flush")
        flushed.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    def replace(old: Path, new: Path) -> Path:
        events.append(f"to {new.name}")
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", replace)
    checkpoint.save(path, epoch(2))
    assert events == ["flush", "to last.pt.previous", "to last.pt", "flush"]
    assert flushed[0] == path.stat().st_size


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"loss": np.float64(0.5)}, r"state\['loss'\] is a float64"),
        ({"a": [1, {"b": Path("x")}]}, r"state\['a'\]\[1\]\['b'\] is a \w*Path"),
        ({"a": {(1, 2): 3}}, r"state\['a'\] has the key \(1, 2\)"),
        ({"p": torch.nn.Parameter(torch.ones(2))}, r"state\['p'\] is a Parameter"),
    ],
)
def test_what_would_not_load_again_is_not_saved(
    path: Path, state: dict[str, object], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        checkpoint.save(path, state)
    assert not path.exists()


def refuse(monkeypatch: pytest.MonkeyPatch, code: int, *names: str) -> None:
    """Have files of these names be there and not be handed out."""
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name in names:
            raise OSError(code, os.strerror(code), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)


BOTH = ("last.pt", "last.pt.previous")


@pytest.mark.parametrize(
    ("refused", "damaged"),
    [(BOTH, ()), (BOTH[:1], BOTH[1:]), (BOTH[1:], BOTH[:1])],
)
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_what_the_disk_does_not_hand_out_is_not_taken_for_damaged(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    refused: tuple[str, ...],
    damaged: tuple[str, ...],
) -> None:
    checkpoint.save(path, epoch(1))
    checkpoint.save(path, epoch(2))
    for name in damaged:
        path.with_name(name).write_bytes(b"PK")
    with monkeypatch.context() as hiccup:
        refuse(hiccup, code, *refused)
        with pytest.raises(OSError, match="no checkpoint can be read at") as told:
            checkpoint.load(path)

    assert told.value.errno == code
    assert os.strerror(code).lower() in str(told.value)
    assert checkpoint.out_of_reach(told.value)
    assert isinstance(told.value, CheckpointError)
    again = pickle.loads(pickle.dumps(told.value))  # as it comes from a worker
    assert (type(again), again.errno, str(again)) == (UnreadableError, code, str(told.value))


def test_the_previous_one_serves_where_the_last_is_not_handed_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(path, epoch(1))
    checkpoint.save(path, epoch(2))
    refuse(monkeypatch, errno.EIO, "last.pt")
    assert checkpoint.load(path)["epochs_done"] == 1


def test_files_are_out_of_reach_where_a_folder_does_not_answer() -> None:
    for code in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN):
        assert checkpoint.out_of_reach(OSError(code, os.strerror(code)))
    for error in (OSError(errno.ENOSPC, "full"), FileNotFoundError(2, "no"), CheckpointError("no")):
        assert not checkpoint.out_of_reach(error)
