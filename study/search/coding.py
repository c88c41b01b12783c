"""Configurations as points: genes to vary them by, and features for a model to learn from.

A gene is a number from 0 to 1 for each dimension, whether or not it applies. Features are what a
model sees: numbers on their own scale (logarithmic where the range is), ordered choices by rank,
others one by one; a dimension that does not apply lies in the middle, told apart by the value of
the dimension it depends on.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Array: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

# The distance of two different values of an unordered choice is then 1.
_ONE_OF_MANY = math.sqrt(0.5)
_MIDDLE = 0.5
# So many configurations are looked at one by one.
_FEW = 2_000


@dataclass(frozen=True)
class Dimension:
    """One parameter that is searched.

    Attributes:
        name: Of the parameter.
        distribution: Optuna's.
        parent: Name of the dimension it depends on, which comes before it; None if it always
            applies.
        when: Values of the parent under which it applies.
    """

    name: str
    distribution: BaseDistribution
    parent: str | None = None
    when: tuple[Any, ...] = ()

    @cached_property
    def choices(self) -> tuple[Any, ...] | None:
        """The values of a choice; None of a range."""
        kind = self.distribution
        return tuple(kind.choices) if isinstance(kind, CategoricalDistribution) else None

    @cached_property
    def is_ordered(self) -> bool:
        """Whether its features lie on a line: a range, or a choice of three numbers or more."""
        if self.choices is None:
            return True
        numbers = [value for value in self.choices if is_number(value)]
        return len(numbers) == len(self.choices) > 2

    @cached_property
    def width(self) -> int:
        """How many features it has."""
        if self.is_ordered or self.choices is None:
            return 1
        return 1 if len(self.choices) <= 2 else len(self.choices)

    def gene_of(self, value: Any) -> float:
        """The gene that stands for a value."""
        if self.choices is not None:
            return (self.distribution.to_internal_repr(value) + 0.5) / len(self.choices)
        low, high = self._ends
        return 0.5 if high == low else (self._scaled(float(value)) - low) / (high - low)

    def value_of(self, gene: float) -> Any:
        """The value that a gene stands for."""
        if self.choices is not None:
            return self.choices[min(int(gene * len(self.choices)), len(self.choices) - 1)]
        low, high = self._ends
        raw = low + gene * (high - low)
        kind = self.distribution
        assert isinstance(kind, IntDistribution | FloatDistribution)
        value = math.exp(raw) if kind.log else raw
        if kind.step is not None:
            value = kind.low + round((value - kind.low) / kind.step) * kind.step
        value = min(max(value, kind.low), kind.high)
        return round(value) if isinstance(kind, IntDistribution) else value

    def canonical(self, genes: Array) -> Array:
        """The genes `(n,)` of the values that genes stand for."""
        if self.choices is not None:
            count = len(self.choices)
            return np.asarray((np.minimum(np.floor(genes * count), count - 1) + 0.5) / count)
        kind = self.distribution
        assert isinstance(kind, IntDistribution | FloatDistribution)
        if kind.step is None:
            return genes
        low, high = self._ends
        raw = low + genes * (high - low)
        value = np.exp(raw) if kind.log else raw
        value = kind.low + np.round((value - kind.low) / kind.step) * kind.step
        value = np.clip(value, kind.low, kind.high)
        scaled = np.log(value) if kind.log else value
        return np.asarray((scaled - low) / (high - low) if high > low else np.full_like(raw, 0.5))

    def features_of(self, genes: Array) -> Array:
        """Features `(n, width)` of genes `(n,)` that are canonical: those of a value."""
        if self.choices is None:
            return genes[:, None]
        count = len(self.choices)
        index = np.minimum((genes * count).astype(int), count - 1)
        if self.is_ordered:
            ranks = np.argsort(np.argsort(np.array(self.choices, dtype=float)))
            return np.asarray((ranks[index] / (count - 1))[:, None])
        if count <= 2:
            return np.asarray(index[:, None].astype(float))
        return np.asarray(np.eye(count)[index] * _ONE_OF_MANY)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        kind = self.distribution
        assert isinstance(kind, IntDistribution | FloatDistribution)
        return self._scaled(kind.low), self._scaled(kind.high)

    def _scaled(self, value: float) -> float:
        kind = self.distribution
        assert isinstance(kind, IntDistribution | FloatDistribution)
        return math.log(value) if kind.log else float(value)


@dataclass(frozen=True)
class Coding:
    """Every dimension of a search space, those that others depend on first."""

    dimensions: tuple[Dimension, ...]

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """Of each feature, the number of its dimension."""
        return tuple(i for i, each in enumerate(self.dimensions) for _ in range(each.width))

    def genes_of(self, configurations: Sequence[Mapping[str, Any]]) -> Array:
        """Genes `(n, dimensions)` of configurations; the middle where a dimension is absent."""
        rows = [
            [each.gene_of(params[each.name]) if each.name in params else _MIDDLE
             for each in self.dimensions]
            for params in configurations
        ]  # fmt: skip
        return np.array(rows, dtype=float).reshape(len(rows), len(self.dimensions))

    def key_of(
        self, params: Mapping[str, Any], only: Collection[str] | None = None
    ) -> tuple[tuple[str, Any], ...]:
        """What tells a configuration, or some parameters of it, from others."""
        return tuple(
            (each.name, place_of(each.distribution, params[each.name]))
            for each in self.dimensions
            if each.name in params and (only is None or each.name in only)
        )

    def params_of(self, genes: Array, only: Collection[int] | None = None) -> dict[str, Any]:
        """The configuration that one row of genes stands for, or some dimensions of it."""
        params: dict[str, Any] = {}
        for i, (gene, each) in enumerate(zip(genes, self.dimensions, strict=True)):
            if only is not None and i not in only:
                continue
            if each.parent is None or params.get(each.parent, _NOTHING) in each.when:
                params[each.name] = each.value_of(float(gene))
        return params

    def with_parents(self, chosen: Collection[int]) -> list[int]:
        """Numbers of some dimensions and of those that they depend on, in order."""
        names = [each.name for each in self.dimensions]
        found = set(chosen)
        for i in reversed(range(len(names))):  # parents come before those that depend on them
            parent = self.dimensions[i].parent
            if i in found and parent is not None:
                found.add(names.index(parent))
        return sorted(found)

    def canonical(self, genes: Array) -> Array:
        """The same configurations by the genes of their values; the middle where none applies."""
        columns = [each.canonical(genes[:, i]) for i, each in enumerate(self.dimensions)]
        found = np.stack(columns, axis=1) if columns else genes
        return np.where(self._applies(found), found, _MIDDLE)

    def features(self, genes: Array) -> Array:
        """Features `(n, features)` of canonical genes."""
        applies = self._applies(genes)
        columns = []
        for i, each in enumerate(self.dimensions):
            found = each.features_of(genes[:, i])
            absent = _MIDDLE if each.width == 1 else 0.0
            columns.append(np.where(applies[:, i, None], found, absent))
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(genes), 0))

    def _applies(self, genes: Array) -> Mask:
        applies = np.ones(genes.shape, dtype=bool)
        names = [each.name for each in self.dimensions]
        for i, each in enumerate(self.dimensions):
            if each.parent is None:
                continue
            above = names.index(each.parent)
            parent = self.dimensions[above]
            values, rows = np.unique(genes[:, above], return_inverse=True)
            told = [parent.value_of(float(gene)) in each.when for gene in values]
            held = np.array(told, dtype=bool)  # also of no configuration
            applies[:, i] = applies[:, above] & held[rows]
        return applies


_NOTHING = object()


def is_number(value: Any) -> TypeGuard[Real]:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def place_of(kind: BaseDistribution, value: Any) -> Any:
    """What tells a value from others: the number of a choice or step, so 0.3 is 3 times 0.1."""
    if isinstance(kind, CategoricalDistribution):
        return kind.to_internal_repr(value)
    if isinstance(kind, FloatDistribution) and kind.step is not None:
        return round((value - kind.low) / kind.step)
    return value


def values_of(kind: BaseDistribution) -> Sequence[Any] | None:
    """All values of a distribution; None where they are many, or without end."""
    if isinstance(kind, CategoricalDistribution):
        return kind.choices if len(kind.choices) <= _FEW else None
    if isinstance(kind, IntDistribution):
        values = range(kind.low, kind.high + 1, kind.step)
        return values if len(values) <= _FEW else None
    if isinstance(kind, FloatDistribution) and kind.step is not None:
        steps = round((kind.high - kind.low) / kind.step)
        if steps < _FEW:
            # As Optuna rounds them: the last one may come out a rounding error beyond the range.
            return [min(kind.low + step * kind.step, kind.high) for step in range(steps + 1)]
    return None


def all_of(coding: Coding) -> list[dict[str, Any]] | None:
    """All configurations of a search space; None where they are many, or without end."""
    if not coding.dimensions:
        return None
    found: list[dict[str, Any]] = [{}]
    for each in coding.dimensions:
        values = values_of(each.distribution)
        if values is None:
            return None
        applies = [each.parent is None or p.get(each.parent, _NOTHING) in each.when for p in found]
        if len(found) + sum(applies) * (len(values) - 1) > _FEW:
            return None
        found = [
            longer
            for params, applied in zip(found, applies, strict=True)
            for longer in ([{**params, each.name: v} for v in values] if applied else [params])
        ]
    return found
