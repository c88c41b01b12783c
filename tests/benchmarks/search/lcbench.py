"""LCBench's learning curves, by YAHPO Gym's surrogate, with a latency that is known beforehand.

Zimmer, Lindauer, Hutter, "Auto-PyTorch Tabular" (2021); Pfisterer et al., "YAHPO Gym" (2022). Seven
hyperparameters of a perceptron, 52 epochs, 35 tasks; the score is validation accuracy in percent.
The stand-in for a latency in ms is layers times units.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from analysis.front import hypervolume
from analysis.results import ReferencePoint

Array = npt.NDArray[np.float64]
Params = Mapping[str, Any]

EPOCHS = 52
SLOWEST = 5 * 1024.0
MOST_WEIGHTS = 5 * 1024.0**2 / 1e6
BEST = 100.0
# In the order that the surrogate takes them.
SPACE: dict[str, BaseDistribution] = {
    "batch_size": IntDistribution(16, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 0.1, log=True),
    "momentum": FloatDistribution(0.1, 0.99),
    "weight_decay": FloatDistribution(1e-5, 0.1),
    "num_layers": IntDistribution(1, 5),
    "max_units": IntDistribution(64, 1024, log=True),
    "max_dropout": FloatDistribution(0.0, 1.0),
}
# Of the encoding's order, the tasks that the search was tuned on; it is reported on the others.
TUNED_ON = 10

_REFERENCE_DRAWS, _REFERENCE_ROUNDS, _REFERENCE_OFFSPRING = 20_000, 8, 4_000


def latency_ms(params: Params) -> float:
    """The stand-in for a latency."""
    return float(params["num_layers"] * params["max_units"])


def weights(params: Params) -> float:
    """What else may be kept small: the weights between layers, in millions."""
    return float(params["num_layers"] * params["max_units"] ** 2 / 1e6)


def draw(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Configurations, each parameter uniform on its own scale."""
    columns = {name: _draw_one(rng, kind, count) for name, kind in SPACE.items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(count)]


def _draw_one(rng: np.random.Generator, kind: Any, count: int) -> list[Any]:
    half = 0.5 if isinstance(kind, IntDistribution) else 0.0
    low, high = kind.low - half, kind.high + half
    if kind.log:
        values = np.exp(rng.uniform(np.log(low), np.log(high), count))
    else:
        values = rng.uniform(low, high, count)
    values = np.clip(values, kind.low, kind.high)
    return np.round(values).astype(int).tolist() if half else values.tolist()


class LcBench:
    """The surrogate.

    Args:
        folder: With `model.onnx` and `encoding.json`.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._model = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        self._codes: dict[str, int] = {task: code for task, code in codes.items() if task != "#na#"}

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the order of the encoding."""
        return tuple(self._codes)

    def curves(self, task: str, configurations: Sequence[Params]) -> Array:
        """Accuracies (%) after each epoch, `(n, 52)`."""
        return self._scores(task, configurations, range(1, EPOCHS + 1))

    def ends(self, task: str, configurations: Sequence[Params]) -> Array:
        """Accuracies (%) after the last epoch, `(n,)`."""
        return self._scores(task, configurations, [EPOCHS])[:, 0]

    def _scores(self, task: str, configurations: Sequence[Params], epochs: Sequence[int]) -> Array:
        values = np.array([[float(c[name]) for name in SPACE] for c in configurations])
        rows = np.empty((len(values), len(epochs), 1 + len(SPACE)), dtype=np.float32)
        rows[:, :, 0] = epochs
        rows[:, :, 1:] = values[:, None]
        flat = rows.reshape(-1, rows.shape[2])
        tasks = np.full((len(flat), 1), self._codes[task], dtype=np.int32)
        (found,) = self._model.run(None, {"x_cat": tasks, "x_cont": flat})
        return np.asarray(found[:, 1], dtype=float).reshape(len(values), len(epochs))

    @cache  # noqa: B019 - one surrogate a process
    def reference(self, task: str) -> "Reference":
        """The front that fronts are measured by: of a large random sample, refined around its best.

        The corner is the median accuracy of the sample, and the largest latency there is.
        """
        rng = np.random.default_rng(0)
        pool = draw(rng, _REFERENCE_DRAWS)
        scores = self.ends(task, pool)
        floor = float(np.median(scores))
        for step in np.geomspace(0.2, 0.01, _REFERENCE_ROUNDS):
            on_it = _on_the_front(scores, np.array([latency_ms(c) for c in pool]))
            pool = [pool[row] for row in on_it]
            scores = scores[on_it]
            near = [
                _beside(rng, pool[i % len(pool)], float(step)) for i in range(_REFERENCE_OFFSPRING)
            ]
            pool += near
            scores = np.concatenate([scores, self.ends(task, near)])
        on_it = _on_the_front(scores, np.array([latency_ms(c) for c in pool]))
        points = [(float(scores[row]), latency_ms(pool[row])) for row in on_it]
        return Reference(floor, points)


class Reference:
    """A reference front, and the corner it is measured from."""

    def __init__(self, floor: float, points: Sequence[tuple[float, float]]) -> None:
        self.floor = floor
        self.points = tuple(points)

    @cached_property
    def area(self) -> float:
        """Of the reference front."""
        return area(self.points, self.floor)

    def regret(self, points: Sequence[tuple[float, float]]) -> float:
        """1 minus the share of the reference front's area that (score, latency) points cover."""
        return 1.0 - area(points, self.floor) / self.area


def area(points: Sequence[tuple[float, float]], floor: float) -> float:
    """The area that points dominate between a floor of the score and the largest latency."""
    share = hypervolume(points, ReferencePoint(floor, SLOWEST, BEST))
    return share * (BEST - floor) * SLOWEST


def _on_the_front(scores: Array, latencies: Array) -> list[int]:
    kept, reached = [], -np.inf
    for row in np.lexsort((-scores, latencies)):
        if scores[row] > reached:
            kept.append(int(row))
            reached = scores[row]
    return kept


def _beside(rng: np.random.Generator, params: Params, step: float) -> dict[str, Any]:
    """A configuration near another one: each parameter is moved with a chance of a half."""
    moved = dict(params)
    for name, kind in SPACE.items():
        assert isinstance(kind, IntDistribution | FloatDistribution)
        if rng.random() < 0.5:
            continue
        low, high = np.log([kind.low, kind.high]) if kind.log else (kind.low, kind.high)
        value = np.log(params[name]) if kind.log else float(params[name])
        value = np.clip(value + rng.normal(0.0, step) * (high - low), low, high)
        value = float(np.exp(value) if kind.log else value)
        value = min(max(value, kind.low), kind.high)
        moved[name] = round(value) if isinstance(kind, IntDistribution) else value
    return moved
