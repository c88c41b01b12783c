"""A record's trials as results, kept at hand: each is parsed again only where it was written to."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from analysis import results
from analysis.results import TrialResult

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class ParsedTrials:
    """What trials come to, and of what storage contents that was made.

    A trial's own attributes are looked at each time: a storage puts another trial in the place of
    one that is written to, and changes none. Attributes of the study are not: who writes one says
    so by :meth:`forget`.

    Args:
        attributes: Returns the study's attributes as the storage has them.
    """

    def __init__(self, attributes: Callable[[], Mapping[str, Any]]) -> None:
        self._attributes = attributes
        self._known: dict[int, tuple[FrozenTrial, TrialResult]] = {}
        # Of each attribute of the study, the trials whose results it is part of.
        self._part_of: defaultdict[str, set[int]] = defaultdict(set)

    def ended(self, number: int) -> TrialResult | None:
        """Return what a trial came to that has ended, without a look at the storage, if known.

        Optuna lets nobody write to such a trial.
        """
        known = self._known.get(number)
        return known[1] if known is not None and known[1].closed else None

    def of(self, trials: "Iterable[FrozenTrial]") -> Iterator[TrialResult]:
        """Yield what each trial comes to, as the storage holds it now."""
        attributes: Mapping[str, Any] | None = None
        for frozen in trials:
            before, result = self._known.get(frozen.number, (None, None))
            # A database's storage makes open trials anew at each question, so those are compared.
            if result is None or (frozen is not before and frozen != before):
                attributes = self._attributes() if attributes is None else attributes
                result = self._parse(frozen, attributes)
            if frozen is not before:
                self._known[frozen.number] = frozen, result
            yield result

    def forget(self, attribute: str) -> None:
        """Drop the results that an attribute of the study is part of."""
        for number in self._part_of.pop(attribute, ()):
            self._known.pop(number, None)

    def _parse(self, frozen: "FrozenTrial", attributes: Mapping[str, Any]) -> TrialResult:
        from analysis.record import told_by_study, trial_result

        for name in told_by_study(frozen):
            self._part_of[name].add(frozen.number)
        reference = attributes.get(results.ATTR_REFERENCE_POINT)
        teacher_ms = None if reference is None else float(reference["latency_ms"])
        return trial_result(frozen, teacher_ms, attributes)
