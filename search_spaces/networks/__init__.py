"""Networks that a search space can ask for, each built from a small frozen description."""
