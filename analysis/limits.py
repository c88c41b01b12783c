"""Limits that a study asked for, held against what is told of its front."""

from collections.abc import Mapping

from analysis.formatting import less_than, more_than
from analysis.record import StudyResults


def beyond_limits(results: StudyResults) -> Mapping[int, str]:
    """Of members of the front, by number, how a figure of theirs is beyond a limit asked for.

    Students keep limits by the latency searched by and by the score of their first run; what is
    told of the front is taken again, on the idle device or over several runs.
    """
    asked, found = results.plan.plan, {}
    most, least = asked.get("max_latency_ms"), asked.get("min_score")
    for trial in results.front:
        score, latency = results.val_score(trial), trial.latency_ms
        if most is not None and latency is not None and latency > most:
            found[trial.number] = more_than(latency, most, "ms")
        elif least is not None and score is not None and score < least:
            found[trial.number] = less_than(score, least, results.plan.space.score.unit)
    return found


def limits_note(results: StudyResults) -> str | None:
    """Members of the front whose figures, taken again, are beyond a limit; None where none is."""
    beyond = beyond_limits(results)
    if not beyond:
        return None
    titles = {trial.number: trial.title for trial in results.front}
    told = [f"{titles[number]}, {how}" for number, how in beyond.items()]
    return (
        f"Beyond what was asked for: {'; '.join(told)}. Limits are kept by the latency searched by "
        "and by the score of the first run; taken again, a figure may lie beyond."
    )
