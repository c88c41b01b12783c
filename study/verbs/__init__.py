"""The verbs of `python -m study`, a file each: `configure` adds arguments, `run` does the work."""
