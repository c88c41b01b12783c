import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from analysis.results import Outcome, TrialResult
from analysis.runs import estimates
from analysis.stored_plan import Score, Space
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import PSNR, SearchSpace
from study.console import make_console
from study.progress import LiveProgress, Progress, front_table, make_progress

ACCURACY = Score("accuracy", "%", 100.0)


def trial(number: int, status: str = "complete", accuracy: float = 90.0) -> TrialResult:
    return TrialResult(
        number=number,
        source="sampler",
        label="Baseline" if number == 0 else None,
        params={},
        architecture="[1,1,1,1] stride 2",
        epochs=3,
        outcome=Outcome(
            status=status,  # type: ignore[arg-type]
            reason=None if status == "complete" else "loss is not a number",
            epochs_done=3,
            val_score=accuracy,
            latency_ms=2.0 + number,
            train_seconds=75.0,
            finished_at="2026-01-01T00:00:00+00:00",
        ),
    )


def stored(space: SearchSpace) -> Space:
    """What a plan stores of a space."""
    return Space.from_json(space.to_json())


def test_a_fact_is_one_line_in_a_pipe_and_folded_between_words_on_a_terminal() -> None:
    text = "ResNet-26 [2,2,2,2], 1 epoch (1,200 small images do not carry a ResNet-50)"
    stream = io.StringIO()
    progress = Progress(stream)
    progress.fact("teacher", text)
    assert stream.getvalue() == f"teacher      {text}\n"

    shown = io.StringIO()
    progress.console = Console(file=shown, force_terminal=True, width=60, color_system=None)
    progress.fact("teacher", text)
    first, second = (line.rstrip() for line in shown.getvalue().splitlines())
    assert first.startswith("teacher      ResNet-26 ")
    assert second.startswith(" " * 13)
    assert f"{first[13:]} {second[13:]}" == text


def test_on_a_terminal_the_end_of_a_trial_is_folded_between_words() -> None:
    shown = io.StringIO()
    progress = LiveProgress(shown)
    progress.console = Console(file=shown, force_terminal=True, width=50, color_system=None)
    progress.trial_finished(trial(1, "failed"))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert " ".join(lines) == "t0001 [1,1,1,1] stride 2: failed, loss is not a number"
    assert len(lines) == 2


def test_in_a_pipe_every_end_of_a_trial_is_one_plain_line() -> None:
    stream = io.StringIO()
    progress = make_progress(stream, quiet=False)
    progress.known((), stored(SPACE))
    with progress.trials_phase(2, None):
        progress.trial_finished(trial(0))
        progress.trial_finished(trial(1, "failed"))

    lines = stream.getvalue().splitlines()

    assert lines == [
        "[1/2] t0000 [1,1,1,1] stride 2 (Baseline): accuracy 90.00\u00a0%, 2.00\u00a0ms, "
        "trained 1\u00a0min 15\u00a0s",
        "[2/2] t0001 [1,1,1,1] stride 2: failed, loss is not a number",
    ]
    assert "\x1b" not in stream.getvalue()


def test_a_score_is_shown_by_its_own_name_and_unit() -> None:
    stream = io.StringIO()
    progress = make_progress(stream, quiet=False)
    progress.known((), stored(replace(SPACE, score=PSNR)))
    progress.trial_finished(trial(1, accuracy=31.256))
    title = f"front, by {progress.compared_by}"
    progress.console.print(front_table(progress.front, progress.score, title=title))

    shown = stream.getvalue()

    assert "PSNR 31.26\u00a0dB, 3.00\u00a0ms" in shown
    assert "front, by PSNR and latency" in shown
    assert "val dB" in shown
    assert "%" not in shown


def test_quiet_shows_warnings_alone() -> None:
    stream = io.StringIO()
    progress = make_progress(stream, quiet=True)
    progress.say("a line")
    progress.trial_finished(trial(0))
    progress.warn("MLflow is away")

    assert stream.getvalue() == "warning: MLflow is away\n"


def test_a_phase_says_how_far_it_is_and_how_long_it_took() -> None:
    stream = io.StringIO()
    with Progress(stream).phase("teacher") as phase:
        assert phase.seconds_left is None
        phase.update(1, 2)
        assert phase.seconds_left is not None
        phase.update(2, 2, "90.0 %")

    first, second, last = stream.getvalue().splitlines()
    assert first == "teacher …"
    assert second == "  2/2 (90.0 %)"
    assert last.startswith("teacher (90.0 %): ")


def test_steps_done_before_the_phase_do_not_count_for_its_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("study.progress.time.monotonic", lambda: clock[0])
    with Progress(io.StringIO()).phase("teacher") as phase:
        clock[0] = 100.0
        phase.update(6, 8)  # an earlier run did five of them
        unknown = phase.seconds_left
        clock[0] = 200.0
        phase.update(7, 8)

        assert unknown is None
        assert phase.seconds_left == 100.0


def test_what_came_before_the_steps_does_not_count_for_their_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("study.progress.time.monotonic", lambda: clock[0])
    with Progress(io.StringIO()).phase("confirming the front") as phase:
        phase.update(0, 4, "the same student, timed again and again")
        clock[0] = 100.0
        phase.begin_steps()
        phase.update(0, 4)
        unknown = phase.seconds_left
        clock[0] = 110.0
        phase.update(1, 4)

        assert unknown is None
        assert phase.seconds_left == 30.0

        phase.begin_steps()
        clock[0] = 115.0
        phase.update(2, 4)

        assert phase.seconds_left == 10.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_view_is_live_unless_it_is_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(make_progress(Terminal(), quiet=False), LiveProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert not isinstance(make_progress(Terminal(), quiet=False), LiveProgress)


def test_the_front_table_thins_a_long_front_and_keeps_both_ends() -> None:
    stream = io.StringIO()
    front = tuple(trial(number, accuracy=50.0 + number) for number in range(40))
    make_console(stream).print(front_table(front, ACCURACY, title="front", limit=5))

    shown = [line.split()[0] for line in stream.getvalue().splitlines()[2:]]

    assert len(shown) == 5
    assert (shown[0], shown[-1]) == ("t0000", "t0039")


def test_replicates_are_counted_by_themselves_and_name_their_first_run() -> None:
    stream = io.StringIO()
    progress = make_progress(stream, quiet=False)
    control = replace(trial(2), source="control", control_of=1)
    progress.known((trial(0), trial(1), control), stored(SPACE))
    with progress.trials_phase(1, None, "replicates"):
        progress.expects(12)
        progress.trial_finished(replace(trial(3), source="replicate", replicate_of=1, run=1))

    lines = stream.getvalue().splitlines()

    assert lines == [
        "[replicates 2/12] t0003 [1,1,1,1] stride 2 (run 1 of t0001): accuracy 90.00\u00a0%, "
        "5.00\u00a0ms, trained 1\u00a0min 15\u00a0s",
    ]


def test_the_front_s_table_shows_means_with_their_errors() -> None:
    stream = io.StringIO()
    again = replace(trial(1, accuracy=92.0), source="replicate", replicate_of=0, run=1)
    trials = [trial(0), again]

    found = front_table((trials[0],), ACCURACY, title="front", val=estimates(trials))
    make_console(stream).print(found)

    assert "91.00\u00a0±\u00a01.00" in stream.getvalue()


def test_a_bar_is_called_by_the_phase_it_shows() -> None:
    stream = io.StringIO()
    progress = LiveProgress(stream)
    progress.console = Console(file=stream, width=80, force_terminal=True)

    with progress.phase("teacher ResNet-26") as phase:
        phase.update(1, 2, "90.0 %")
        progress.console.print(progress._render())

    assert "teacher ResNet-26 " in stream.getvalue()
    assert "trials" not in stream.getvalue()


def test_in_a_narrow_window_the_students_name_gives_way_and_no_figure_does() -> None:
    front = tuple(trial(number, accuracy=80.0 + number) for number in range(2))
    wide, narrow = (
        rows(front_table(front, ACCURACY, title="front"), width=width) for width in (100, 46)
    )

    assert "…" not in "".join(wide)
    assert len(narrow) == len(wide)
    for line, whole in zip(narrow[2:], wide[2:], strict=True):
        assert "…" in line
        assert line.split()[-2:] == whole.split()[-2:]


def test_a_window_made_narrower_has_all_folded_rows_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XTERM_VERSION", raising=False)
    progress = LiveProgress(io.StringIO())
    progress.console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with progress.phase("a phase of a rather long name, which takes much room") as phase:
        phase.update(1, 2, "and a note")
        progress._render()
        progress.console.width = 30
        live = progress._live
        assert live is not None
        progress._render()
        height = live._live_render.last_render_height

    assert height >= 3  # one line of more than 60 letters, folded at 30


def rows(table: Table, *, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return [line.rstrip() for line in stream.getvalue().splitlines()]
