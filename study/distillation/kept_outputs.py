"""A teacher's answers on the disk: a block of float16 a view, and the checksum of each.

A folder of two files: `answers.f16`, the blocks one behind the other in the order of the views'
numbers and mapped as one array, and `checksums.jsonl`, a line of JSON for what the array is and one
for each view that is there. A line is written when its block is safe on the disk, so that whatever
a kill, a full disk or a bad sector leaves behind is noticed, and costs one view.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = NDArray[np.float16]


class KeptOutputs:
    """The answers in one folder. There is one writer at a time, who holds the folder's lock."""

    def __init__(self, folder: Path, images: int) -> None:
        """Look at a folder, which may be missing.

        Args:
            folder: Where the two files lie.
            images: Images of a view.
        """
        self._answers = folder / "answers.f16"
        self._checksums = folder / "checksums.jsonl"
        self._images = images
        self._outputs = 0  # numbers an image; 0 is not known yet

    def lines(self) -> int:
        """How many views there are, damaged or not; cheap."""
        return len(self._read()[1])

    def missing(self, views: Iterable[int]) -> list[int]:
        """Those of the views that are not there, or whose block does not match its checksum."""
        head, sums = self._read()
        if head.get("images") != self._images or not isinstance(head.get("outputs"), int):
            # Nothing here can be told apart: begin anew.
            self._answers.unlink(missing_ok=True)
            self._checksums.unlink(missing_ok=True)
            return list(views)
        self._outputs = head["outputs"]
        return [view for view in views if not self._matches(view, sums.get(view))]

    def add(self, view: int, block: Outputs) -> None:
        """Keep the answers to a view, float16 `(images, outputs)`.

        Raises:
            OSError: The disk is full, or cannot be written.
        """
        self._outputs = block.shape[1]
        data = np.ascontiguousarray(block).data.cast("B")
        self._answers.touch()
        with self._answers.open("r+b") as file:
            file.seek(view * len(data))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        line: dict[str, Any] = {"view": view, "sha256": hashlib.sha256(data).hexdigest()}
        head = {"images": self._images, "outputs": self._outputs, "dtype": "float16"}
        new = not self._checksums.exists()
        with self._checksums.open("a", encoding="utf-8") as text:
            # A line that an earlier kill tore is ended first.
            text.write(f"{json.dumps(head)}\n" if new else "" if self._ended() else "\n")
            text.write(f"{json.dumps(line)}\n")
            text.flush()
            os.fsync(text.fileno())

    def mapped(self, views: int) -> Outputs:
        """The first views, all of them there: float16 `(views, images, outputs)`, read-only."""
        shape = (views, self._images, self._outputs)
        return np.memmap(self._answers, dtype=np.float16, mode="r", shape=shape)

    def _matches(self, view: int, checksum: str | None) -> bool:
        if checksum is None:
            return False
        size = self._images * self._outputs * 2
        try:
            with self._answers.open("rb") as file:
                file.seek(view * size)
                return hashlib.sha256(file.read(size)).hexdigest() == checksum
        except OSError:
            return False

    def _read(self) -> tuple[dict[str, Any], dict[int, str]]:
        """What the array is, and the last checksum of each view; torn lines are left out."""
        head: dict[str, Any] = {}
        sums: dict[int, str] = {}
        try:
            lines = self._checksums.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return head, sums
        for line in lines:
            try:
                entry = json.loads(line)
                if "view" in entry:
                    sums[int(entry["view"])] = str(entry["sha256"])
                else:
                    head = entry
            except (ValueError, TypeError, KeyError):
                continue
        return head, sums

    def _ended(self) -> bool:
        return self._checksums.read_bytes().endswith(b"\n")
