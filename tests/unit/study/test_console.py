"""Lines and rows for people: folded on a terminal, whole in a pipe."""

import io

import pytest
from rich.console import Console

from study.console import print_line, print_rows

TEXT = " ".join(f"word{number}" for number in range(40))


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=50, force_terminal=terminal, no_color=True)


def printed(made: Console) -> list[str]:
    assert isinstance(made.file, io.StringIO)
    return [line.rstrip() for line in made.file.getvalue().splitlines()]


def test_in_a_pipe_a_line_is_whole_whatever_it_holds() -> None:
    made = console(terminal=False)
    print_line(made, f"[bold]{TEXT}")
    assert printed(made) == [f"[bold]{TEXT}"]


def test_on_a_terminal_a_line_is_folded_between_words() -> None:
    made = console(terminal=True)
    print_line(made, TEXT)
    lines = printed(made)
    assert len(lines) > 1
    assert all(len(line) <= 50 for line in lines)
    assert " ".join(lines) == TEXT


def test_rows_are_folded_beside_their_names() -> None:
    made = console(terminal=True)
    print_rows(made, [("sampler", TEXT), ("its [scheduler]", "none")], indent=2)
    first, *more, last = printed(made)
    assert first.startswith("  sampler          word0")
    assert all(line.startswith(" " * 19 + "word") for line in more)
    assert last == "  its [scheduler]  none"


@pytest.mark.parametrize("width", [None, 20])
def test_in_a_pipe_a_row_is_one_line(width: int | None) -> None:
    made = console(terminal=False)
    print_rows(made, [("sampler", TEXT)], width=width)
    assert printed(made) == [f"{'sampler':<{width or 9}}{TEXT}"]
