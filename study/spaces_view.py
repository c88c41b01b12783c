"""Search spaces as a person reads them: a line each, or one space with all its parameters."""

from collections.abc import Sequence

from search_spaces.space import Choice, Parameter, SearchSpace


def parameter_rows(space: SearchSpace) -> Sequence[tuple[str, str]]:
    """Return name and description of each parameter; conditional ones are indented."""
    return [(_indented(parameter), _describe(parameter)) for parameter in space.parameters]


def _indented(parameter: Parameter) -> str:
    return f"  └ {parameter.name}" if parameter.when else parameter.name


def _describe(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        values = ", ".join(str(choice) for choice in parameter.choices)
    else:
        scale = ", log" if parameter.log else ""
        values = f"{parameter.low:g} to {parameter.high:g}{scale}"
    if not parameter.searched:
        default = parameter.default
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        values = f"held at {shown}"
    when = parameter.when
    condition = ""
    if when is not None:
        condition = f"; with {when.parameter} {' or '.join(str(v) for v in when.values)}"
    return f"{values}{condition}: {parameter.help}"
