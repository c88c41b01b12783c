"""Eight students a space, the same for every arm: no sampler decides what is trained."""

from dataclasses import replace

from search_spaces.cifar_blocks import SPACE as CIFAR_BLOCKS
from search_spaces.mnist_dense import SPACE as MNIST_DENSE
from search_spaces.space import Params, Preset, SearchSpace

PRESET = "fixed"

_BLOCKS = (
    (1, 1, 1, 1, 2),
    (1, 1, 0, 0, 2),
    (2, 0, 0, 0, 2),
    (1, 1, 1, 0, 2),
    (1, 2, 0, 0, 2),
    (1, 0, 1, 0, 2),
    (1, 1, 1, 1, 4),
    (2, 2, 0, 0, 4),
)
_UNITS = (50, 100, 150, 200, 300, 400, 500, 600)


def _fixed(space: SearchSpace, rows: tuple[Params, ...]) -> SearchSpace:
    presets = tuple(Preset(space.describe(space.complete(row)), row) for row in rows)
    return replace(space, presets={PRESET: presets}, published={})


def _blocks(row: tuple[int, ...]) -> Params:
    names = ("blocks_1", "blocks_2", "blocks_3", "blocks_4", "stem_stride")
    return {**dict(zip(names, row, strict=True)), "terms": "weighted", "batch_size": 64}


BLOCKS = _fixed(CIFAR_BLOCKS, tuple(_blocks(row) for row in _BLOCKS))
DENSE = _fixed(MNIST_DENSE, tuple({"hidden": units} for units in _UNITS))
