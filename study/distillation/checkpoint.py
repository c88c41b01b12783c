"""State on disk that survives a crash at any moment, and knows when it has been damaged.

A checkpoint is an ordinary file of `torch.save`, which plain `torch.load` opens. A digest of its
content travels in the comment field of the ZIP archive that such a file is.
"""

import errno
import glob
import hashlib
import io
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

# The end of a ZIP archive: a record of 22 bytes, the last two being the length of a comment.
_END_OF_ARCHIVE = b"PK\x05\x06"
_END_OF_ARCHIVE_BYTES = 22
_SEAL_BYTES = 2 + len("sha256:") + 64
# What a folder on the network, or a disk that fails, says where it does not answer.
_NO_ANSWER = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN)


class CheckpointError(ValueError):
    """No whole checkpoint lies at a path."""


class UnreadableError(OSError, CheckpointError):
    """A checkpoint lies at a path, or may, and cannot be read now; who begins anew may lose it."""


def out_of_reach(error: BaseException) -> bool:
    """Whether files could not be read or written here and now, and may be whole all the same."""
    if isinstance(error, UnreadableError):
        return True
    return isinstance(error, OSError) and error.errno in _NO_ANSWER


def previous_path(path: Path) -> Path:
    """Where `save` keeps the checkpoint before the last."""
    return path.with_name(path.name + ".previous")


def save(path: Path, state: dict[str, Any], keep_previous: bool = True) -> None:
    """Write `state` so that a whole checkpoint exists at every moment.

    It is written beside `path` and flushed to the disk before it takes the place of the old one.
    On a node that fell silent a writer may still be at work when another has taken its trial over:
    what it leaves is whole as well, and the last to end counts.

    Args:
        path: The file; missing folders are made.
        state: Tensors, numbers, strings, None, and dictionaries, lists and tuples of them.
        keep_previous: Keep the checkpoint that is replaced, for `load` to fall back to.

    Raises:
        TypeError: `state` holds something that could not be loaded again; names its place.
        OSError: The disk is full or gone, or whoever took over swept away what was half written;
            the old checkpoint is as it was.
    """
    _require_plain(state, "state")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines(_sealed(buffer.getbuffer()))
            file.flush()
            os.fsync(file.fileno())
        if keep_previous and partial.exists():
            with suppress(FileNotFoundError):  # the first one, or moved by another writer
                path.replace(previous_path(path))
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def sweep(path: Path) -> None:
    """Remove what writers of `path` that were killed have left half written beside it.

    One that is still at work finds its own gone, and fails.
    """
    for left in path.parent.glob(f"{glob.escape(path.name)}.*partial"):
        left.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """The last whole checkpoint saved at `path`, its tensors on the CPU.

    A missing or damaged file is replaced by the previous checkpoint, with a warning in the log.

    Raises:
        UnreadableError: Neither can be read, and at least one may be whole: it is there, as far as
            can be told, and the system does not hand it out.
        CheckpointError: Both are missing or damaged.
    """
    reasons = []
    refused: OSError | None = None
    for candidate in (path, previous_path(path)):
        try:
            state = _read(candidate)
        except (CheckpointError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            reasons.append(f"{candidate.name}: {(reason or str(error)).lower()}")
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                refused = refused or error
        else:
            if reasons:
                logger.warning("using the previous checkpoint in %s (%s)", path.parent, reasons[0])
            return state
    told = f"no checkpoint can be read at {path} ({'; '.join(reasons)})"
    if refused is not None:
        raise UnreadableError(refused.errno, told) from refused
    raise CheckpointError(told)


def _sealed(archive: memoryview) -> tuple[memoryview, bytes]:
    """The archive without its empty comment, and the comment that takes its place."""
    end = archive[-_END_OF_ARCHIVE_BYTES:]
    assert bytes(end[:4]) == _END_OF_ARCHIVE
    assert bytes(end[-2:]) == b"\0\0"
    content = archive[:-2]
    return content, _seal(content)


def _seal(content: memoryview) -> bytes:
    comment = b"sha256:" + hashlib.sha256(content).hexdigest().encode()
    return len(comment).to_bytes(2, "little") + comment


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if _seal(memoryview(data)[:-_SEAL_BYTES]) != data[-_SEAL_BYTES:]:
        raise CheckpointError("the content does not match its checksum")
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def _require_plain(value: Any, place: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise TypeError(f"{place} has the key {key!r}; keys must be text or whole numbers")
            _require_plain(item, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_plain(item, f"{place}[{index}]")
    # Exactly these types: subclasses, such as numpy's numbers, do not load again.
    elif type(value) not in (torch.Tensor, str, int, float, bool, type(None)):
        raise TypeError(f"{place} is a {type(value).__name__}; only tensors and JSON can be saved")


def _sync_folder(folder: Path) -> None:
    """Make the renames durable, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse it
        logger.debug("cannot flush the folder %s", folder)
    finally:
        os.close(descriptor)
