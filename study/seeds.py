"""The seeds of a study's runs: the same configuration, trained again, draws anew."""

import numpy as np


def run_seed(seed: int, run: int) -> int:
    """Return the seed of a training's initialisation, data order and dropout.

    Runs of one number share it, whatever their configuration, so that a distilled student and its
    control are compared run by run. The first run of every configuration has the study's own.

    Args:
        seed: The study's.
        run: Which run of its configuration a training is, from 0.
    """
    if run == 0:
        return seed
    return int(np.random.SeedSequence(seed, spawn_key=(run,)).generate_state(1)[0])
