"""What a reader of latencies has to know: which are tied, which are not known well, how taken."""

from analysis.formatting import NBSP, counted, number
from analysis.record import StudyResults
from analysis.results import Latency, SoloLatency, TrialResult

# By the name that a record has for it.
_CLOCKS = {
    "cpu": "the thread's own processor time",
    "wall": "the wall clock",
    "events": "events on the GPU",
}
_NOISY = 0.2  # a spread of the A/A test above which hardly any difference means something
_RUNTIMES = {"eager": "PyTorch", "compiled": "torch.compile", "onnx": "ONNX Runtime"}


def tie_note(results: StudyResults) -> str | None:
    """What counts as a tie in latency, and who is off the front for one; None without a test.

    It begins with a warning where that is so much that the front tells little.
    """
    test = results.tie_test
    if test is None:
        return None
    copies = counted(len(test.ratios), "copy", "copies")
    note = (
        f"Latencies less than {_percent(test.spread)} apart count as tied: so far apart may two "
        f"timings of one student lie (A/A test, {copies} of {test.architecture}). Of tied "
        "students the one with the better score stays on the front"
    )
    titles = {trial.number: trial.title for trial in results.trials}
    gave_way = [f"{titles[number]} to {stays.title}" for number, stays in results.tied.items()]
    if not gave_way:
        note = f"{note}; here none had to give way."
    else:
        note = f"{note}, though the hypervolume counts both; gave way: {', '.join(gave_way)}."
    return f"{_noisy_note(test.spread)} {note}" if test.spread > _NOISY else note


def _noisy_note(spread: float) -> str:
    """The warning that goes before the note on ties where equal students were timed far apart."""
    return (
        "Warning: timings were too noisy to compare students by. Equal students may be timed "
        f"{_percent(spread)} apart, so differences below that mean nothing. A study measures this "
        "once: to measure again, give its command under another --name on an idle machine, with a "
        "larger --timing-seconds."
    )


def unsettled(results: StudyResults) -> list[TrialResult]:
    """Members of the front whose ratio, given the teacher's idle time, is not known to 3 %."""
    timed = ((trial, trial.best_latency) for trial in results.front)
    return [t for t, latency in timed if latency is not None and latency.settled is False]


def noise_note(results: StudyResults) -> str | None:
    """Say whose latency is not known well; None where all are."""
    found = []
    for trial in unsettled(results):
        assert trial.best_latency is not None
        ratio = trial.best_latency.ratio_batch_1
        found.append(f"{trial.title} ({_percent((ratio.high - ratio.low) / ratio.median)})")
    if not found:
        return None
    return (
        f"Not settled in the time allowed (95{NBSP}% interval of the ratio at batch 1 wider than "
        f"3{NBSP}%): {', '.join(found)}."
    )


def timed_on(latency: SoloLatency | Latency) -> str:
    """Where, in what, on which clock and by whose pace the latencies of a study were taken."""
    where = f"{latency.device}, {counted(latency.threads, 'thread')}, {runtime_of(latency)}"
    if isinstance(latency, SoloLatency) and latency.over_metronome is not None:
        return f"{where}, small students by a metronome's pace"
    return where


def runtime_of(latency: SoloLatency | Latency) -> str:
    """In what and on which clock a latency was taken, on whatever device."""
    runtime = _RUNTIMES.get(latency.runtime, latency.runtime)
    folded = ", batch norms folded" if latency.folded else ""
    return f"in {runtime}{folded}, by {_CLOCKS.get(latency.clock, latency.clock)}"


def _percent(share: float) -> str:
    return f"{number(100 * share, 1 if share < 0.1 else 0)}{NBSP}%"
