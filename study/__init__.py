"""How many students are tried: from a plan to a finished record."""

__version__ = "0.1.0"
