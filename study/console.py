"""Where a program writes for people: consoles that outlive their readers, and one that does not."""

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

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


def print_line(console: Console, text: str, style: str | None = None) -> None:
    """Print a line: on a terminal folded between words, in a pipe whole."""
    whole = not console.is_terminal
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=whole)


def print_rows(
    console: Console, rows: Sequence[tuple[str, str]], *, indent: int = 0, width: int | None = None
) -> None:
    """Print a name and a text a row: on a terminal folded beside the name, in a pipe whole.

    Args:
        console: Where to.
        rows: The names and their texts.
        indent: Characters before each name.
        width: Characters for the names; what the longest one takes if None.
    """
    if width is None:
        width = max((len(name) for name, _ in rows), default=0) + 2
    for name, text in rows:
        if not console.is_terminal:
            print_line(console, f"{' ' * indent}{name:<{width}}{text}")
            continue
        row = Table.grid()
        row.add_column(width=width, no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(Text(name), Text(text))
        console.print(Padding.indent(row, indent), highlight=False)


def _made(kind: type[Console], stream: TextIO) -> Console:
    """A console that respects NO_COLOR, folds no line in a pipe and knows no markup."""
    width = None if stream.isatty() else 200
    return kind(file=stream, width=width, emoji=False, markup=False)
