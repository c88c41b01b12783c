"""Checkpoints of a training, written beside it, at a price that stays in proportion.

The state is copied, and a thread writes the copy while the worker reports its epoch. The next epoch
begins only once that is done. So whoever is killed loses one epoch at most: the one in training, or
one that was reported while it was still being written.

Where even this costs more than `MOST` of an epoch, as epochs of hundredths of a second do, not
every epoch is written: so many that the cost stays below it, judged by the cheapest write so far
and never before the first `JUDGED_BY` are done. Of such a training a kill loses the epochs of at
most the cheapest write's cost over `MOST`, a second at 30 ms.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.distillation import checkpoint

# Of the time that is trained, what checkpoints may cost.
MOST = 0.03
# So many writes tell what one costs: the first makes what later ones find, some wait for the disk.
JUDGED_BY = 8


class CheckpointWriter:
    """Writes the checkpoints of one training, one at a time."""

    def __init__(
        self,
        path: Path,
        *,
        every_epoch: bool = False,
        then: Callable[[Path], None] | None = None,
    ) -> None:
        """Write to `path`.

        Args:
            path: As `checkpoint.save` takes it.
            every_epoch: Leave out none, whatever it costs.
            then: Done with each file that has been written, and part of its write.
        """
        self._path = path
        self._every_epoch = every_epoch
        self._then = then
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._cost = 0.0
        self._costs: list[float] = []
        self._trained = 0.0

    def due(self, trained: float) -> bool:
        """Whether to write now, after so many more seconds of training."""
        self._trained += trained
        if self._every_epoch or len(self._costs) < JUDGED_BY:
            return True
        return min(self._costs) <= MOST * self._trained

    def write(self, state: dict[str, Any], began: float) -> None:
        """Begin to write a state that nobody changes any more.

        Args:
            state: As `checkpoint.save` takes it.
            began: When the copy of it was begun, by `time.perf_counter`: that is part of the cost.

        Raises:
            OSError: The write before this one failed.
        """
        self.wait()
        self._thread = threading.Thread(target=self._save, args=(state,), name="checkpoint")
        self._thread.start()
        self._trained = 0.0
        self._cost = time.perf_counter() - began

    def wait(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            TypeError: As `checkpoint.save`.
            OSError: The disk is full or gone; the checkpoint before is as it was.
        """
        if self._thread is None:
            return
        began = time.perf_counter()
        self._thread.join()
        self._thread = None
        self._costs.append(self._cost + time.perf_counter() - began)
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _save(self, state: dict[str, Any]) -> None:
        try:
            checkpoint.save(self._path, state)
            if self._then is not None:
                self._then(self._path)
        except BaseException as error:
            self._error = error
