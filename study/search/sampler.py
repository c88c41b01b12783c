"""The search as a sampler of Optuna's, for studies that have nothing else of this service."""

import contextlib
import math
import threading
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from study.search.architecture import ArchitectureFigure, Figures
from study.search.candidates import drawn
from study.search.coding import Array, Coding, all_of
from study.search.feasibility import Feasibility
from study.search.first_draws import FirstDraws
from study.search.latency_first import LatencyFirst
from study.search.relative import Conditions, RelativeSpace, propose, was_proposed
from study.search.scale import Corner, low_of
from study.search.told import (
    LATENCY,
    SCORE,
    THIRD,
    curve_of,
    number_told,
    positive,
    refuse_epoch,
)
from study.search.training import Limits, Training

Params = Mapping[str, Any]

_CONSTRAINTS = "constraints"  # as Optuna has those of a `constraints_func`
# Draws from the space that are to tell how large a figure may be, and how far beyond a bound lies.
_DRAWS, _BEYOND = 200, 1.1
_TRIES = 10  # where other processes keep proposing the same


def report_score(
    trial: Trial,
    epoch: int,
    score: float,
    latency: float | None = None,
    third: float | None = None,
) -> None:
    """Tell what a trial scored after an epoch, counted from 1.

    Optuna's own ``Trial.report`` is for studies of one objective. The latency, and the third of a
    study of three, are of use where the sampler cannot compute them: of a trial that is pruned,
    nothing else tells them.

    Raises:
        ValueError: if the epoch is below 1, or beyond the last that the study's sampler was given.
    """
    # A trial of fixed values, which an objective can be tried with, is of no study.
    sampler = getattr(getattr(trial, "study", None), "sampler", None)
    epochs = sampler._epochs if isinstance(sampler, LatencyFirstSampler) else math.inf
    refuse_epoch(epoch, epochs, trial.number)
    trial.set_user_attr(f"{SCORE}{epoch:04d}", float(score))
    for name, value in ((LATENCY, latency), (THIRD, third)):
        if value is not None:
            trial.set_user_attr(name, float(value))


class LatencyFirstSampler(BaseSampler):
    """Proposes what is expected to add most to the front of score and latency.

    The study has two objectives: a score to be maximised and a latency to be minimised, which is
    known before anything is trained, if it can be computed, or is told from what was measured. It
    may have a third, to be minimised and known alike, such as the number of parameters. Only the
    score is uncertain: a Gaussian process learns it from the curves of trials, pruned ones too, as
    far as they were told with :func:`report_score`; of more than 400 trials, from those that run,
    those of the front and some of the others. Trials that run are expected to end as they promise,
    so parallel ones do not repeat each other; no configuration of the relative space is proposed
    twice, nor by another process that shares the storage, and once all of a small one were, the
    study is stopped. It can be pickled where what it was given can be.

    Without a ``search_space`` the relative space is what finished trials have in common. Until one
    is complete or pruned there is none. Parameters are then drawn one by one, unless an
    ``independent_sampler`` was given, each a value that the fewest trials have that are alike so
    far: as long as configurations are left, those that one process asks for differ, if all have the
    same parameters. A parameter that not all trials have is varied with the others if
    ``conditions`` tell when it applies; else it is drawn independently.

    A trial that is complete ends at the score that it returned. One that was pruned or failed is
    learnt from as far as it told its scores, and is on no front. One that failed is tried again
    only where it is enqueued, as retries of Optuna's are. A score that is not finite is left out
    with its trial; a latency or third that is not finite and above 0 counts as unknown.

    Example:
        ::

            import optuna
            from study.search.sampler import LatencyFirstSampler, report_score

            def latency(params):
                return 0.1 * params["width"]

            def objective(trial):
                width = trial.suggest_int("width", 1, 64, log=True)
                rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
                for epoch in range(1, 10):
                    score = train_one_epoch(width, rate)
                    report_score(trial, epoch, score)
                return score, latency(trial.params)

            sampler = LatencyFirstSampler(
                latency, shaping=("width",), epochs=9, best_score=100.0, seed=0
            )
            study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
            study.optimize(objective, n_trials=40)

    Args:
        latency_of: The latency of what the shaping parameters build, or None where it is unknown;
            left out, it is learnt from the trials' values. It is shown what is known of them, and
            counts as unknown where it looks up another one in vain (a ``KeyError``).
        shaping: Names of the parameters that the latency depends on; all, if left out.
        search_space: What is varied; left out, the parameters that all trials have in common.
        conditions: Of a parameter that not all trials have, the categorical one that it depends on,
            and the values of that under which it applies: ``{"temperature": ("method",
            ("taught",))}``. What it depends on may have a condition of its own.
        epochs: Of a whole training, as scores are reported; what reports more is refused.
        floor: The least score that counts; left out, what one trial in five falls short of.
        slowest: Latency of the reference corner: whatever is slower is worth nothing. Give it where
            you know it. Left out, it is a tenth above the largest one that was seen, or that is
            expected of draws from the space.
        best_score: The best score there is; infinite where none bounds it.
        third_of: As ``latency_of``, of a third objective.
        largest: As ``slowest``, of a third objective.
        limits: What is known to be refused: it is proposed last.
        constraints_func: As Optuna's samplers have it; ``Trial.set_constraint`` does as well. What
            breaks a constraint is on no front, and a candidate counts by how likely it keeps all.
        independent_sampler: For the other parameters, and for all while there is no relative space;
            draws at random, if left out.
        seed: Of every draw. One worker's proposals are the same for the same seed.

    Raises:
        ValueError: if a condition names a parameter that there is not or a value that is no choice.
            Without a ``search_space`` that is only seen, and raised, once trials have finished.
    """

    def __init__(
        self,
        latency_of: Callable[[Params], float | None] | None = None,
        *,
        shaping: Collection[str] | None = None,
        search_space: Mapping[str, BaseDistribution] | None = None,
        conditions: Conditions | None = None,
        epochs: int = 1,
        floor: float | None = None,
        slowest: float | None = None,
        best_score: float = math.inf,
        third_of: Callable[[Params], float | None] | None = None,
        largest: float | None = None,
        limits: Limits | None = None,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
        independent_sampler: BaseSampler | None = None,
        seed: int | None = None,
    ) -> None:
        self._latency_of, self._third_of = latency_of, third_of
        self._shaping = None if shaping is None else frozenset(shaping)
        self._relative = RelativeSpace(search_space, conditions)
        self._epochs = epochs
        self._floor, self._slowest, self._best = floor, slowest, best_score
        self._largest = largest
        self._limits = limits
        self._constraints_func = constraints_func
        at_random = RandomSampler(seed=seed)
        self._others = independent_sampler or at_random
        self._first = None if independent_sampler else FirstDraws(at_random)
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._lock = threading.Lock()
        self._learnt: tuple[Coding, Mapping[str, Any]] | None = None
        self._forget()

    def _forget(self, of: Any = None) -> None:
        """Know nothing of finished trials but of what they are: a study, and how it is searched."""
        self._finished_of = of
        self._finished: dict[int, Training] = {}
        self._genes: dict[int, Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What another process goes on from; what the study tells as well is left out."""
        own = ("_lock", "_finished_of", "_finished", "_genes")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._forget()

    # What Optuna asks

    def reseed_rng(self) -> None:
        """Reseed what draws independently; proposals are told apart by the trial's number."""
        self._others.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is varied together: as given, or what finished trials have in common."""
        with self._lock:
            return self._relative.find(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose values for a trial; none where everything of a finite space was tried."""
        if not search_space:
            return {}
        with self._lock:
            if was_proposed(trial):  # a retry has it of the trial that failed
                again = self._relative.params_of(trial, search_space)
                if again is not None:
                    return again
            for _ in range(_TRIES):
                params = self._propose(study, trial, search_space)
                propose(study, trial, search_space, params)
                # Another process may have written the same meanwhile. Of two each looks after it
                # has written, so that one of them sees the other's.
                if not params or not self._is_anothers(params, study, trial, search_space):
                    break
        return params

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a parameter that is not varied with the others."""
        self._relative.is_asked(param_name, param_distribution)
        if self._first is not None and not was_proposed(study._storage.get_trial(trial._trial_id)):
            return self._first.draw(study, trial, param_name, param_distribution)
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse a study of other objectives, and tell the independent sampler.

        Raises:
            ValueError: if the study does not maximise one objective and minimise another, or two.
        """
        wanted = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
        if study.directions not in (wanted[:2], wanted):
            raise ValueError(
                "LatencyFirstSampler is for studies of a score and a latency, and perhaps a size; "
                "create the study with directions=['maximize', 'minimize'], or with "
                "['maximize', 'minimize', 'minimize']"
            )
        self._others.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Keep what the constraints came to."""
        if self._constraints_func is not None and state != TrialState.FAIL:
            found = tuple(self._constraints_func(trial))
            study._storage.set_trial_system_attr(trial._trial_id, _CONSTRAINTS, found)
        self._others.after_trial(study, trial, state, values)

    # What is asked of the search

    def _propose(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        coding = self._relative.coding_of(search_space)
        has_third = len(study.directions) > 2
        of = (study._storage, study._study_id, coding, self._relative.fixed)
        if self._finished_of != of:
            self._forget(of)
        seen: list[tuple[FrozenTrial, Params]] = []
        before: list[Training] = []
        for other in study.get_trials(deepcopy=False):
            known = self._finished.get(other.number)
            params = known.params if known else self._relative.params_of(other, search_space)
            if params is None or other.number == trial.number:
                continue
            seen.append((other, params))
            # Only those before it: two that are asked for at once then draw differently.
            if other.number < trial.number:
                before.append(known or self._training(other, params, has_third=has_third))
                # A latency that is unknown may still become known.
                if other.state.is_finished() and before[-1].latency_ms is not None:
                    self._finished[other.number] = before[-1]
        tried = {coding.key_of(params) for _, params in seen}
        search = self._search(coding, seen, before, has_third=has_third)
        # Trials without the relative parameters count as drawn, from nowhere.
        rest = range(trial.number - len(before))
        before += [Training(-2 - n, {}, (), self._epochs, None, telling=False) for n in rest]
        everything = all_of(coding)
        found = search.begin(before, lambda params: coding.key_of(params) in tried, everything)
        self._learnt = (coding, search.state())
        for number in self._genes.keys() - self._finished.keys():
            del self._genes[number]
        if found is None and everything is not None:
            said = f"all {len(everything)} configurations of the search space have been tried"
            warnings.warn(f"{said}; what is drawn now repeats one", stacklevel=2)
            with contextlib.suppress(RuntimeError):  # asked by hand, it cannot be stopped
                study.stop()
        return dict(found or {})

    def _is_anothers(
        self,
        params: Params,
        study: Study,
        trial: FrozenTrial,
        search_space: Mapping[str, BaseDistribution],
    ) -> bool:
        """Whether another trial has a configuration, as the storage now is."""
        key_of = self._relative.coding_of(search_space).key_of
        for other in study.get_trials(deepcopy=False):
            if other.number == trial.number or other.number in self._finished:
                continue
            theirs = self._relative.params_of(other, search_space)
            if theirs is not None and key_of(theirs) == key_of(params):
                return True
        return False

    def _search(
        self,
        coding: Coding,
        seen: Sequence[tuple[FrozenTrial, Params]],
        trainings: Sequence[Training],
        *,
        has_third: bool,
    ) -> LatencyFirst:
        """Return the search as it stands: what it fitted last goes on from trial to trial."""
        shaping = self._shaping or frozenset(each.name for each in coding.dimensions)
        latencies = [(t.params, t.latency_ms) for t in trainings if t.latency_ms is not None]
        thirds = [(t.params, t.third) for t in trainings if t.third is not None]
        latency_of = self._figure_of(latencies, coding, shaping, self._latency_of)
        third_of = self._figure_of(thirds, coding, shaping, self._third_of)
        scores = [each.scores[-1] for each in trainings if each.scores]
        slowest, largest = self._slowest, self._largest if has_third else None
        if slowest is None:
            slowest = self._most("latency", coding, shaping, latency_of, latencies)
        if has_third and largest is None:
            largest = self._most("third", coding, shaping, third_of, thirds)
        floor = low_of(scores) if self._floor is None else self._floor
        search = LatencyFirst(
            coding,
            Corner(floor, slowest, self._best, largest, is_told=self._floor is not None),
            first_rung=1,
            seed=self._seed,
            latency_of=latency_of,
            third_of=third_of,
            shaping=shaping,
            limits=self._limits,
            likelihood=Feasibility(coding, seen),
            genes=self._genes,
        )
        if self._learnt is not None and self._learnt[0] == coding:
            search.load_state(self._learnt[1])
        return search

    def _most(
        self,
        name: str,
        coding: Coding,
        shaping: Collection[str],
        figure_of: Callable[[Params], float | None],
        known: Figures,
    ) -> float:
        """A bound on a figure where none was given: beyond all that is known, or expected.

        What was largest so far is no bound: whoever is larger would be worth nothing for ever.
        """
        shapes = coding.with_parents(
            [i for i, each in enumerate(coding.dimensions) if each.name in shaping]
        )
        figure = ArchitectureFigure(coding, shapes, figure_of)
        if self._learnt is not None and self._learnt[0] == coding:
            figure.load_state(self._learnt[1].get(name, {}))
        figure.learn(len(known), lambda: known)
        expected = figure.of(drawn(coding, np.random.default_rng(self._seed), _DRAWS))
        largest = max([*expected[np.isfinite(expected)], *(value for _, value in known)], default=0)
        return _BEYOND * float(largest) if largest else 1.0

    def _training(self, trial: FrozenTrial, params: Params, *, has_third: bool) -> Training:
        scores = curve_of(trial, self._epochs)
        all_params = {**self._relative.completed(params), **trial.params}
        if trial.state == TrialState.COMPLETE:
            end, latency, third = trial.values[0], trial.values[1], trial.values[-1]
            # Its end is what it returned; without its curve, that stands for all of it.
            scores = scores[: self._epochs - 1]
            scores = (*scores, *[end] * (self._epochs - len(scores)))
            scores = scores if math.isfinite(end) else ()
        else:
            latency, third = number_told(trial, LATENCY), number_told(trial, THIRD)
            if latency is None:
                latency = self._computed(self._latency_of, all_params)
            if third is None:
                third = self._computed(self._third_of, all_params)
        latency, third = positive(latency), positive(third)
        if has_third and third is None:
            latency = None  # what is known of one alone is of no use
        kept = all(violation <= 0.0 for violation in trial.constraints.values())
        return Training(
            trial.number,
            params,
            scores,
            self._epochs,
            latency,
            third=third if has_third else None,
            runs=trial.state == TrialState.RUNNING,
            # Nor is anything to be had of what was pruned or failed, however far it came.
            feasible=kept and trial.state not in (TrialState.PRUNED, TrialState.FAIL),
            failed=trial.state == TrialState.FAIL,
        )

    def _figure_of(
        self,
        known: Figures,
        coding: Coding,
        shaping: frozenset[str],
        otherwise: Callable[[Params], float | None] | None,
    ) -> Callable[[Params], float | None]:
        """A figure of architectures: as known of another trial's, else as it can be computed."""
        figures = {coding.key_of(params, shaping): value for params, value in known}

        def figure(params: Params) -> float | None:
            params = self._relative.completed(params)
            if any(self._relative.applies(name, params) for name in shaping - params.keys()):
                return None  # it depends on what is still to be drawn
            found = figures.get(coding.key_of(params, shaping))
            return self._computed(otherwise, params) if found is None else found

        return figure

    def _computed(
        self, figure: Callable[[Params], float | None] | None, params: Params
    ) -> float | None:
        """A figure as it can be computed; None where that takes a parameter that is not there."""
        if figure is None:
            return None
        try:
            return positive(figure(params))
        except KeyError as error:
            name = error.args[0] if error.args else None
            if name in params or (self._shaping is not None and name not in self._shaping):
                raise
            return None
