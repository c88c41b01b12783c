"""Configurations that could be begun, by their genes."""

import numpy as np
from scipy.spatial import KDTree

from study.search.coding import Array, Coding

# How often a gene lies at an end of its range, in draws that seek the ends.
_AT_AN_END = 0.25
# How often a gene that is moved is drawn anew instead.
_ANEW = 0.1


def drawn(coding: Coding, rng: np.random.Generator, count: int) -> Array:
    """Draws from the whole space; of half of them some genes lie at an end of their range.

    In several dimensions the ends are where uniform draws are fewest, and often where the best is.
    """
    genes = rng.random((count, len(coding.dimensions)))
    at_an_end = rng.random(genes.shape) < _AT_AN_END
    at_an_end[: count // 2] = False
    return coding.canonical(np.where(at_an_end, np.round(genes), genes))


def moved(
    coding: Coding, rng: np.random.Generator, genes: Array, far: float, chance: float
) -> Array:
    """Genes of which some are moved a little, or, of an unordered choice, drawn anew.

    Args:
        coding: The search space.
        rng: For every draw.
        genes: `(n, dimensions)`.
        far: Standard deviation of a move; the whole range is 1.
        chance: That a gene is moved.
    """
    is_moved = rng.random(genes.shape) < chance
    beside = np.clip(genes + rng.normal(0.0, far, genes.shape), 0.0, 1.0)
    anew = rng.random(genes.shape)
    unordered = np.array([not each.is_ordered for each in coding.dimensions])
    found = np.where(unordered | (rng.random(genes.shape) < _ANEW), anew, beside)
    return coding.canonical(np.where(is_moved, found, genes))


def apart(genes: Array, others: Array, radius: float) -> Array:
    """The candidates that differ from all others by a radius in one gene at least.

    Of what is all but the same as a trial that waits, more is learnt by going on with the trial.
    """
    if not len(others):
        return genes
    distances, _ = KDTree(others).query(genes, p=np.inf)
    return genes[np.asarray(distances) >= radius]
