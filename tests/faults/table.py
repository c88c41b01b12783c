"""Prints the table of faults from the rows that tests wrote: `python table.py ROWS.jsonl`.

The rows come from `FAULTS_TABLE=ROWS.jsonl python -m pytest -m faults`; run it several times into
one file for medians.
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any


def main(path: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        rows[row["fault"]].append(row)
    print("| fault | runs | epochs lost | seconds to recover | reproduce |")
    print("|---|---|---|---|---|")
    for fault, runs in rows.items():
        lost = sorted({str(run["epochs_lost"]) for run in runs})
        seconds = statistics.median(run["seconds"] for run in runs)
        shown = f"{seconds:.1f}" if seconds else "–"
        test = f"`pytest tests/faults/{runs[-1]['test']}`".replace("'", '"')
        print(f"| {fault} | {len(runs)} | {' or '.join(lost)} | {shown} | {test} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
