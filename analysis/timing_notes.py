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
_RUNTIMES = {"eager": "PyTorch", "compiled": "torch.compile", "onnx": "ONNX Runtime"}


def tie_note(results: StudyResults) -> str | None:
    """What counts as a tie in latency, and who is off the front for one; None without a test."""
    test = results.tie_test
    if test is None:
        return None
    copies = counted(len(test.ratios), "copy", "copies")
    note = (
        f"Latencies that differ by less than {_percent(test.spread)} are ties (A/A test: so far "
        f"apart two of {copies} of {test.architecture} may lie), and the better score stays"
    )
    titles = {trial.number: trial.title for trial in results.trials}
    gave_way = [f"{titles[number]} to {stays.title}" for number, stays in results.tied.items()]
    if not gave_way:
        return f"{note}; none are on this front."
    return f"{note}, though the hypervolume counts both; gave way: {', '.join(gave_way)}."


def unsettled(results: StudyResults) -> list[TrialResult]:
    """Members of the front whose ratio to the teacher is known to no better than 3 %."""
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
        f"Noisy latencies, whose ratio at batch 1 has a 95{NBSP}% interval that did not come to be "
        f"under 3{NBSP}% wide: {', '.join(found)}."
    )


def timed_on(latency: SoloLatency | Latency) -> str:
    """Where, in what and on which clock the latencies of a study were taken."""
    return f"{latency.device}, {counted(latency.threads, 'thread')}, {runtime_of(latency)}"


def runtime_of(latency: SoloLatency | Latency) -> str:
    """In what and on which clock a latency was taken, on whatever device."""
    runtime = _RUNTIMES.get(latency.runtime, latency.runtime)
    folded = ", batch norms folded" if latency.folded else ""
    return f"in {runtime}{folded}, by {_CLOCKS.get(latency.clock, latency.clock)}"


def _percent(share: float) -> str:
    return f"{number(100 * share, 1 if share < 0.1 else 0)}{NBSP}%"
