"""Choosing what to train next, where latency is known before the first epoch.

`coding` turns configurations into points, `curve_model` predicts from every epoch of every trial
where a training would end, `gain` says what such an end would add to the front, and
`latency_first` decides: begin another trial, or have one that waits go on.
"""
