"""Charts: of each, first the numbers (`*_info`), then the drawing of them (`*_figure`)."""
