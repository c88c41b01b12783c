"""Parameters that most spaces search alike: softening, its weight, and subclasses."""

from search_spaces.parameters import Choice, Parameter, Range, When


def temperature(
    when: When,
    text: str = "softening of both outputs",
    *,
    low: float = 1.0,
    default: float = 4.0,
) -> Range:
    """Return the temperature T, by which both outputs are divided before they are compared.

    Args:
        when: The condition under which it is read.
        text: One line of help.
        low: The least that is tried; below 1 it sharpens.
        default: Its value where none is named.
    """
    return Range("temperature", low, 20.0, text, log=True, default_value=default, when=when)


def alpha(
    when: When, text: str = "weight of the distillation term", *, default: float = 0.5
) -> Range:
    """Return α, the weight of what the teacher says against the labels.

    Args:
        when: The condition under which it is read.
        text: One line of help.
        default: Its value where none is named.
    """
    return Range("alpha", 0.1, 0.95, text, default_value=default, when=when)


_DISTILLED = When("method", ("subclass", "response"))

# Subclass beside conventional distillation, as in Müller, Kornblith, Hinton (2020).
SUBCLASS_METHODS: tuple[Parameter, ...] = (
    Choice(
        "method",
        ("subclass", "response", "none"),
        "taught by subclasses, by classes (conventional), or by labels alone (control)",
    ),
    Choice(
        "subclasses",
        (2, 4, 5, 8),
        "subclasses a class; each number has a teacher of its own",
        default_value=2,
        architecture=True,
        when=When("method", ("subclass",)),
    ),
    temperature(_DISTILLED),
    alpha(_DISTILLED),
)
