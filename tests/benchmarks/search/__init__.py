"""The search against its peers, on a surrogate of LCBench's learning curves."""
