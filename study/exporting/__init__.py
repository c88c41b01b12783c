"""A trial's student, taken out of a study to be used elsewhere: `python -m study export`."""
