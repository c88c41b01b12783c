"""`python -m study spaces`: the search spaces, or one of them."""

import argparse
import json
from typing import TYPE_CHECKING

from study.verbs.arguments import add_json

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

HELP = "list the search spaces, or show one"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("space", nargs="?", help="a name, FILE.py or module:ATTRIBUTE")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List the built-in spaces, or show one."""
    from search_spaces.catalogue import BUILT_IN, load_space
    from study.console import make_view
    from study.plan_view import parameter_rows

    if args.space is None:
        spaces = [load_space(name) for name in BUILT_IN]
        if args.json:
            print(json.dumps({"spaces": [space.to_json() for space in spaces]}))
            return 0
        width = max(len(space.name) for space in spaces) + 2
        for space in spaces:
            presets = f" (presets: {', '.join(space.presets)})" if space.presets else ""
            print(f"{space.name:<{width}}{space.title}{presets}")
        return 0
    space = load_space(args.space)
    if args.json:
        print(json.dumps(space.to_json(next(iter(space.presets), None))))
        return 0
    console = make_view()
    console.print(f"{space.name}: {space.title}", style="bold", highlight=False)
    console.print(space.description, highlight=False)
    rows = parameter_rows(space)
    width = max(len(name) for name, _ in rows) + 2
    console.print("\nParameters", style="bold")
    for name, text in rows:
        console.print(f"  {name:<{width}}{text}", highlight=False, markup=False)
    console.print("\nStudies", style="bold")
    for name, text in _study_rows(space, args.space):
        console.print(f"  {name:<{width}}{text}", highlight=False, markup=False)
    for preset, members in space.presets.items():
        table = space.published.get(preset)
        console.print(f"\nPreset {preset}", style="bold")
        if table is not None:
            console.print(f"  {table.source}", highlight=False, markup=False)
        columns = {} if table is None else {column.key: column for column in table.columns}
        for row in members:
            figures = [
                f"{columns[key].label} {value:g} {columns[key].unit}".rstrip()
                for key, value in row.published.items()
            ]
            notes = [text for text in (", ".join(figures), row.note) if text]
            line = f"  {row.label}: {'. '.join(notes)}" if notes else f"  {row.label}"
            console.print(line, highlight=False, markup=False)
    return 0


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
    control = ", ".join(f"{name}={value}" for name, value in space.control.items())
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
