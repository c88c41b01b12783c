"""Colours of charts and page, light and dark: one definition for both.

Marks use hues of Okabe and Ito's colour-blind-safe set (2008), brightened on dark paper and
darkened where words are in them, to a contrast of 4.5 and more; marks have 3 and more (WCAG 2.2,
1.4.11), lines that are drawn over each other by the dozen less, and shape always says the same as
colour. Charts are drawn with the light colours, and the page swaps each for its dark twin where the
reader's system asks for it.
"""

from typing import NamedTuple


class Shade(NamedTuple):
    """A colour on light and on dark paper."""

    light: str
    dark: str


SHADES: dict[str, Shade] = {
    "paper": Shade("#ffffff", "#14171a"),
    "raised": Shade("#f6f7f9", "#1c2024"),
    "ink": Shade("#1b1f24", "#e6e9ec"),
    "muted": Shade("#59636e", "#9ba5b0"),
    "line": Shade("#d9dee3", "#30363d"),
    "grid": Shade("#e9ecef", "#262b31"),
    "front": Shade("#0072b2", "#56b4e9"),
    "front-soft": Shade("#4d96c4", "#3a76a0"),
    "rival": Shade("#b5598f", "#e39bc6"),
    "dominated": Shade("#5f6a75", "#8a949e"),
    "stopped": Shade("#858f99", "#66707a"),
    "control": Shade("#009e73", "#3ccf9f"),
    "teacher": Shade("#b84e00", "#f0a13c"),
    "scale-low": Shade("#c9dcec", "#2a4459"),
    "scale-high": Shade("#083f7c", "#a5dbff"),
    # Studies beside each other.
    "study-1": Shade("#0072b2", "#56b4e9"),
    "study-2": Shade("#b84e00", "#f0a13c"),
    "study-3": Shade("#009e73", "#3ccf9f"),
    "study-4": Shade("#b5598f", "#e39bc6"),
    "study-5": Shade("#8a6d00", "#e6c24d"),
    "study-6": Shade("#1b1f24", "#e6e9ec"),
    "failed": Shade("#b8860b", "#e6c24d"),
}


def light(name: str) -> str:
    """The colour of that name on light paper."""
    return SHADES[name].light


def css() -> str:
    """The colours as CSS custom properties, with their dark twins."""
    first = "".join(f"--{name}:{shade.light};" for name, shade in SHADES.items())
    second = "".join(f"--{name}:{shade.dark};" for name, shade in SHADES.items())
    return (
        f":root{{color-scheme:light dark;--shade:rgb(0 0 0/.14);{first}}}\n"
        "@media screen and (prefers-color-scheme:dark)"
        f"{{:root{{--shade:rgb(0 0 0/.55);{second}}}}}\n"
    )


def dark_twins() -> dict[str, str]:
    """Light colour to dark colour, for a chart's JSON."""
    return {shade.light: shade.dark for shade in SHADES.values()}
