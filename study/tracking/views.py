"""Views of an experiment: what its page of runs lists, in which columns and order.

MLflow's own pages keep a named view in a tag of the experiment; it is found under `Views`, and by
the address `…/runs?viewStateShareKey=front`.
"""

import json
import time
from typing import Any, Final

FRONT_TAG: Final = "front"
FRONT_VALUE: Final = "yes"
_PREFIX: Final = "mlflow.sharedViewState."
_COLUMNS: Final = (
    "metrics.`final/val_score`",
    "metrics.`final/test_score`",
    "metrics.`final/latency_ms`",
    "metrics.`final/latency_ratio`",
    "metrics.`final/params_m`",
    "tags.`outcome`",
    "tags.`study`",
)


def view_tags() -> dict[str, str]:
    """The tags that keep the views of an experiment: its fronts, and all its trials."""
    front = _view(
        "Fronts, fastest first",
        f"tags.{FRONT_TAG} = '{FRONT_VALUE}'",
        "metrics.`final/latency_ms`",
        ascending=True,
    )
    trials = _view(
        "Trials, best first",
        "tags.kind = 'trial'",
        "metrics.`final/val_score`",
        ascending=False,
    )
    return {f"{_PREFIX}front": front, f"{_PREFIX}trials": trials}


def _view(name: str, words: str, order_by: str, *, ascending: bool) -> str:
    state: dict[str, Any] = {
        "searchFilter": words,
        "orderByKey": order_by,
        "orderByAsc": ascending,
        "selectedColumns": list(_COLUMNS),
    }
    now = time.time_ns() // 1_000_000
    return json.dumps(
        {"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)}
    )
