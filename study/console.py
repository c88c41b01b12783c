"""Where a program writes for people: consoles that outlive their readers, and one that does not."""

import sys
from typing import TextIO

from rich.console import Console

from study.unread import drop


class LastingConsole(Console):
    """A console for who has more to do than to show: it falls silent once nobody reads.

    Rich itself would end the program where a pipe has no reader, and raise where a terminal is
    gone.
    """

    def on_broken_pipe(self) -> None:
        """Fall silent."""
        self.quiet = True
        del self._buffer[:]
        drop(self.file)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.on_broken_pipe()


def make_console(stream: TextIO | None = None) -> Console:
    """Return a console that falls silent, and ends nothing, once its output cannot be written."""
    return _made(LastingConsole, stream or sys.stdout)


def make_view() -> Console:
    """Return one on standard output for who does nothing but show: that ends with its reader."""
    return _made(Console, sys.stdout)


def _made(kind: type[Console], stream: TextIO) -> Console:
    """A console that respects NO_COLOR, folds no line in a pipe and knows no markup."""
    width = None if stream.isatty() else 200
    return kind(file=stream, width=width, emoji=False, markup=False)
