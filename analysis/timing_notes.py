"""What a reader of latencies has to know: which are tied, which are not known well, how taken."""

from analysis.formatting import NBSP, counted, number
from analysis.latency import TieTests
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
    tests = results.tie_tests
    if tests.widest is None:
        return None
    told = [test for test in (tests.steadier, tests.widest) if test is not None]
    copies = " and ".join(
        f"{counted(len(test.ratios), 'copy', 'copies')} of {test.architecture}" for test in told
    )
    apart = f"less than {_percent(told[0].spread)} apart count as tied"
    if len(told) > 1:
        apart += f", less than {_percent(told[1].spread)} apart where one is of a large student"
    note = (
        f"Latencies {apart}: so far apart may two timings of one student lie (A/A test, {copies}). "
        "Of tied students the one with the better score stays on the front"
    )
    titles = {trial.number: trial.title for trial in results.trials}
    gave_way = [f"{titles[number]} to {stays.title}" for number, stays in results.tied.items()]
    if not gave_way:
        note = f"{note}; here none had to give way."
    else:
        note = f"{note}, though the hypervolume counts both; gave way: {', '.join(gave_way)}."
    noisy = _noisy_note(results)
    return note if noisy is None else f"{noisy} {note}"


def spread_told(tests: TieTests) -> str | None:
    """How far apart timings of equal students lie: `27 %`, `0.4 % (large ones 50 %)`; or None."""
    if tests.widest is None:
        return None
    widest = _percent(tests.widest.spread)
    if tests.steadier is None:
        return widest
    return f"{_percent(tests.steadier.spread)} (large ones {widest})"


def is_noisy(results: StudyResults) -> bool:
    """Whether hardly any difference means something between latencies that the front is made of."""
    return _noisy_note(results) is not None


def _noisy_note(results: StudyResults) -> str | None:
    """The warning that goes before the note on ties where equal students were timed far apart.

    None where those that are on the front, or gave way for a tie, were not.
    """
    tests = results.tie_tests
    concerned = [trial for trial in results.trials if trial.number in results.tied]
    spreads = [tests.spread_of(trial.best_latency) for trial in (*results.front, *concerned)]
    spread = max(spreads, default=0.0)
    if spread <= _NOISY:
        return None
    large = "large " if min(spreads) <= _NOISY else ""
    return (
        f"Warning: timings of {large}students were too noisy to compare them by. Two of the same "
        f"one may lie {_percent(spread)} apart, so differences below that mean nothing. A study "
        "measures this once: to measure again, give its command under another --name on an idle "
        "machine, with a larger --timing-seconds."
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
