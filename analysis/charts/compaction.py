"""Makes a chart's JSON small before it goes into the page; `charts.js` undoes it.

A thousand trials say the same lines in their hover texts ("schedule: onecycle") and repeat one
value along a curve, so lists of texts are stored as numbers of lines, and runs as counts.
"""

from typing import Any

BREAK = "<br>"
_SHORTEST = 40  # shorter lists are left alone


def compact(value: Any) -> Any:
    """A chart's JSON value with its long lists stored shorter.

    `{"$lines": [...], "$rows": [[0, 2], ...]}` stands for texts of several lines, and
    `{"$runs": [[value, count], ...]}` for values that follow themselves.
    """
    if isinstance(value, dict):
        return {key: compact(item) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    items = list(value)
    if len(items) >= _SHORTEST and all(isinstance(item, str) for item in items):
        if any(BREAK in item for item in items):
            return _lines(items)
        return _runs(items)
    if len(items) >= _SHORTEST and not any(isinstance(item, dict | list | tuple) for item in items):
        return _runs(items)
    return [compact(item) for item in items]


def _lines(texts: list[str]) -> dict[str, Any]:
    numbers: dict[str, int] = {}
    rows = [
        [numbers.setdefault(line, len(numbers)) for line in text.split(BREAK)] for text in texts
    ]
    return {"$lines": list(numbers), "$rows": rows}


def _runs(items: list[Any]) -> Any:
    runs: list[list[Any]] = []
    for item in items:
        if runs and runs[-1][0] == item:
            runs[-1][1] += 1
        else:
            runs.append([item, 1])
    return {"$runs": runs} if 2 * len(runs) < len(items) else items
