"""The fields of a latency: of a student beside its teacher, of a network alone, of equal students.

Part of the definition of a result's fields (`analysis.results`); milliseconds throughout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from analysis.stored import Stored


@dataclass(frozen=True)
class Timing(Stored):
    """Milliseconds of one forward pass: percentiles of the repeats; None of earlier records."""

    median: float
    p95: float
    p90: float | None = None
    p99: float | None = None
    p25: float | None = None


@dataclass(frozen=True)
class Ratio(Stored):
    """Inference-time ratio teacher/student: above 1 the student is faster.

    `low` and `high` bound its 95 % bootstrap interval.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency(Stored):
    """A student and its teacher timed in alternation on one device, at batch 1 and batch 64.

    Where there is no teacher the space's default student stands in its place.

    `runtime` ran both, their batch norms `folded` into the layers before them or not, and passes
    were timed by `clock`: the thread's processor time (`cpu`), the `wall` clock, or `events` on a
    GPU. `settled` says whether the 95 % interval of the ratio at batch 1 came to be under 3 % wide.
    `paced_by` says whom the student was timed against at batch 1: its `teacher`, or the
    `metronome`, a small network by way of which its ratio to the teacher is told.
    `reference_ms` is the latency (batch 1) that the study's teacher has on the idle device. Records
    from before these were kept tell of passes on the wall clock, of networks as they were trained.
    """

    device: str
    threads: int
    precision: str
    idle: bool
    repeats: int
    batch_1_ms: Timing
    batch_64_ms: Timing
    teacher_batch_1_ms: Timing
    teacher_batch_64_ms: Timing
    ratio_batch_1: Ratio
    ratio_batch_64: Ratio
    runtime: str = "eager"
    folded: bool = False
    clock: str = "wall"
    settled: bool | None = None
    reference_ms: float | None = None
    paced_by: str = "teacher"

    def search_latency_ms(self, teacher_idle_ms: float) -> float:
        """Latency (ms, batch 1) a study searches by: that of the idle teacher over the ratio.

        Other trials may be running while a student is timed; the ratio is hardly moved by that
        load, a bare timing is.
        """
        return teacher_idle_ms / self.ratio_batch_1.median

    @property
    def latency_ms(self) -> float:
        """Latency (ms, batch 1) that students are compared by, once timed on the idle device.

        As the one searched by: programs beside the study may still run.
        """
        if self.reference_ms is None:
            return self.batch_1_ms.median
        return self.search_latency_ms(self.reference_ms)


@dataclass(frozen=True)
class SoloLatency(Stored):
    """A teacher timed alone on the idle device, at batch 1 and batch 64, as `Latency` has it.

    `over_metronome` is its ratio to the metronome at batch 1, timed in turn.
    """

    batch_1_ms: Timing
    batch_64_ms: Timing
    device: str
    threads: int
    runtime: str = "eager"
    folded: bool = False
    clock: str = "wall"
    over_metronome: float | None = None

    @property
    def latency_ms(self) -> float:
        """Latency (ms, batch 1) that students' ratios are told against: the lower quartile.

        As in the ratios themselves; the median in records from before it was kept.
        """
        return self.batch_1_ms.median if self.batch_1_ms.p25 is None else self.batch_1_ms.p25


@dataclass(frozen=True)
class TieTest(Stored):
    """An A/A test: copies of one student, timed one after another on the idle device.

    `ratios` are their latencies over the mean. `spread` bounds, in 95 of 100 cases, how far the
    latencies of two equal students lie apart, as a share of the smaller one: whoever differs by
    less is tied. `paced_by` says whom the copies were timed against, as in `Latency`; None in
    records whose one test is of all students, however they were timed.
    """

    architecture: str
    ratios: tuple[float, ...]
    spread: float
    paced_by: str | None = None


@dataclass(frozen=True)
class TieTests(Stored):
    """The A/A tests of a study: one for each pace by which students of it were timed, or none."""

    tests: tuple[TieTest, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Self:
        """Read what a record has of them: of an earlier one that is one test alone, or None."""
        if data is None:
            return cls()
        if isinstance(data, dict) and "tests" not in data:
            return cls((TieTest.from_json(data),))
        return super().from_json(data)

    @property
    def widest(self) -> TieTest | None:
        """The test that found equal students furthest apart; None without any."""
        return max(self.tests, key=lambda test: test.spread, default=None)

    @property
    def steadier(self) -> TieTest | None:
        """That of the metronome's pace, if it found equal students less far apart; else None."""
        widest = self.widest
        for test in self.tests:
            if test.paced_by == "metronome" and widest is not None and test.spread < widest.spread:
                return test
        return None

    def spread_of(self, latency: Latency | None) -> float:
        """Up to which share another latency is tied with this one, if it is as certain.

        A latency by the metronome's pace is as certain as the test of that pace has it, any other
        as the test that found equal students furthest apart. Of two latencies the larger share
        counts. 0, at which nothing is tied, without a test.
        """
        by_metronome = latency is not None and latency.paced_by == "metronome"
        test = (self.steadier if by_metronome else None) or self.widest
        return 0.0 if test is None else test.spread


NOTHING_TIED = TieTests()
