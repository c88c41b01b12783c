"""`python -m study spaces`: the search spaces, or one of them."""

import argparse
import json
from typing import TYPE_CHECKING

from study.verbs.arguments import add_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search_spaces.declarations import Preset, PublishedColumn
    from search_spaces.space import SearchSpace

HELP = "list the search spaces, or show one"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("space", nargs="?", help="a name, FILE.py or module:ATTRIBUTE")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List the built-in spaces, or show one."""
    from search_spaces.catalogue import BUILT_IN, load_space
    from study.console import make_view, print_line, print_rows
    from study.plan_view import parameter_rows

    if args.space is None:
        spaces = [load_space(name) for name in BUILT_IN]
        if args.json:
            print(json.dumps({"spaces": [space.to_json() for space in spaces]}))
            return 0
        print_rows(make_view(), [(space.name, _title(space)) for space in spaces])
        return 0
    space = load_space(args.space)
    if args.json:
        print(json.dumps(space.to_json(next(iter(space.presets), None))))
        return 0
    console = make_view()
    print_line(console, f"{space.name}: {space.title}", style="bold")
    print_line(console, space.description)
    rows = parameter_rows(space)
    width = max(len(name) for name, _ in rows) + 2
    console.print("\nParameters", style="bold")
    print_rows(console, rows, indent=2, width=width)
    console.print("\nStudies", style="bold")
    print_rows(console, _study_rows(space, args.space), indent=2, width=width)
    for preset, members in space.presets.items():
        table = space.published.get(preset)
        console.print(f"\nPreset {preset}", style="bold")
        if table is not None:
            print_rows(console, [("", table.source)], indent=2, width=0)
        columns = {} if table is None else {column.key: column for column in table.columns}
        print_rows(console, [(row.label, _notes(row, columns)) for row in members], indent=2)
    return 0


def _title(space: "SearchSpace") -> str:
    presets = f" (presets: {', '.join(space.presets)})" if space.presets else ""
    return space.title + presets


def _notes(row: "Preset", columns: "Mapping[str, PublishedColumn]") -> str:
    """What was published of a row of a preset, and what there is to say of it."""
    figures = ", ".join(
        f"{columns[key].label} {value:g} {columns[key].unit}".rstrip()
        for key, value in row.published.items()
    )
    return ". ".join(text for text in (figures, row.note) if text)


def _study_rows(space: "SearchSpace", spec: str) -> list[tuple[str, str]]:
    """What a study of the space, which is known by ``spec``, does unless told otherwise."""
    from search_spaces.own_methods import methods_json
    from study.plan import recipe_of

    data = space.default_data
    budget, teacher = space.defaults_for(data), "none"
    if space.taught:
        recipe = recipe_of(space.teacher_for(data))
        teacher = f"{recipe.title}, {recipe.epochs} epochs of {recipe.optimizer}"
    objectives = ", ".join(f"{o.label} ({o.direction}, {o.unit})" for o in space.objectives)
    control = ", ".join(f"{name}={value}" for name, value in space.control.items()) or "none"
    own = methods_json(space.methods).items()
    return [
        ("objectives", objectives),
        *(("own method", f"{name}, {method['reference']}") for name, method in own),
        ("control", control),
        ("data", data),
        ("teacher", teacher),
        ("budget", f"{budget.trials} trials of at most {budget.max_epochs} epochs"),
        ("cost", f"python -m study.launch --space {spec} --dry-run measures it here"),
    ]
