"""The epochs at which trials are compared, or wait."""


def rung_epochs(max_epochs: int, grace: int, factor: int = 3) -> tuple[int, ...]:
    """Return the rungs, all below ``max_epochs``: ``grace`` (1 at least) and its multiples."""
    rungs: list[int] = []
    epoch = max(1, grace)
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= factor
    return tuple(rungs)


def default_grace(max_epochs: int) -> int:
    """Return the first rung at which trials are compared: about an eighth of the epochs."""
    return max(1, round(max_epochs / 8))


def first_wait(max_epochs: int) -> int:
    """Return how long a new trial is trained before it waits: 4 of 52 epochs."""
    return max(1, round(max_epochs / 13))
