"""Several studies in one page: fronts overlaid, hypervolumes under one corner, plans beside.

python -m analysis.compare studies/ONE studies/OTHER
python -m analysis.compare studies/ONE studies/OTHER --output beside.html --json
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.comparison import Comparison, compare
from analysis.record import read_record
from analysis.report import put

DEFAULT_OUTPUT = Path("comparison.html")


def summary(comparison: Comparison) -> dict[str, Any]:
    """What `--json` prints: hypervolumes, members and differences as numbers and words."""
    return {
        "relative_latency": comparison.relative,
        "reference": comparison.reference.to_json(),
        "studies": [
            {
                "study": study.label,
                "hypervolume": study.hypervolume,
                "own_hypervolume": study.own_hypervolume,
                "epochs": study.epochs,
                "aa_spreads": [
                    {"paced_by": test.paced_by, "spread": test.spread}
                    for test in study.results.tie_tests.tests
                ],
                "trials": len(study.results.configurations),
                "front": [
                    {
                        "trial": member.trial.name,
                        "val_score": member.val_score,
                        "latency": member.across,
                        "ratio": member.ratio,
                        "joint": member.joint,
                    }
                    for member in study.members
                ],
            }
            for study in comparison.studies
        ],
        "warnings": list(comparison.warnings),
        "differences": {each.field: list(each.values) for each in comparison.differences},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 of studies that cannot be read or compared."""
    from analysis.sections.compared import compared_page

    parser = argparse.ArgumentParser(
        prog="python -m analysis.compare",
        description="Set the fronts, hypervolumes and plans of several studies side by side.",
        epilog="example: python -m analysis.compare studies/quickstart studies/longer",
    )
    parser.add_argument(
        "study_folders",
        metavar="STUDY_FOLDER",
        type=Path,
        nargs="+",
        help="folder that holds plan.json; two or more",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        default=DEFAULT_OUTPUT,
        help="the page (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    asked = parser.parse_args(arguments)
    try:
        comparison = compare([read_record(folder) for folder in asked.study_folders])
        path = put(asked.output, compared_page(comparison).encode())
    except (ValueError, OSError) as error:
        print(f"analysis.compare: {error}", file=sys.stderr)
        return 2
    if asked.json:
        told = {**summary(comparison), "file": str(path.absolute())}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print(path)
        for warning in comparison.warnings:
            print(warning.replace("\u00a0", " "))
    return 0


if __name__ == "__main__":
    sys.exit(main())
