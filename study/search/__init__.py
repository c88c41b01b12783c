"""Choosing what to train next, where latency is known before the first epoch.

`coding` turns configurations into points, `candidates` draws and varies them, `curve_model` tells
from the curves of trials where a training would end, `architecture` guesses latency and size
of what was not measured, `gain` says what such an end would add to the front (of score and latency,
or of parameters or FLOPs as well, which are known as soon), `earlier` what another study would
expect, and `latency_first` decides: begin another trial, or have one that waits
go on. `sampler` offers it to plain Optuna studies: `relative` finds what they vary, `first_draws`
draws before that is known, `told` reads what trials were told of, and `feasibility` learns their
constraints.
"""
