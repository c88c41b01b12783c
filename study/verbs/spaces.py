"""`python -m study spaces`: the search spaces, or one of them."""

import argparse
import json

from study.verbs.arguments import add_json

HELP = "list the search spaces, or show one"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("space", nargs="?", help="a name, FILE.py or module:ATTRIBUTE")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List the built-in spaces, or show one."""
    from search_spaces.catalogue import BUILT_IN, load_space
    from study.plan_view import parameter_rows
    from study.progress import make_console

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
    console = make_console()
    console.print(f"{space.name}: {space.title}", style="bold", highlight=False)
    console.print(space.description, highlight=False)
    rows = parameter_rows(space)
    width = max(len(name) for name, _ in rows) + 2
    console.print("\nParameters", style="bold")
    for name, text in rows:
        console.print(f"  {name:<{width}}{text}", highlight=False, markup=False)
    for preset, members in space.presets.items():
        console.print(f"\nPreset {preset}", style="bold")
        for row in members:
            figures = ", ".join(f"{key} {value:g}" for key, value in row.published.items())
            said = f"published {figures}" if figures else row.note
            line = f"  {row.label}: {said}" if said else f"  {row.label}"
            console.print(line, highlight=False, markup=False)
    return 0
