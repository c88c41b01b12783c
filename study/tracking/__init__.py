"""A study as others see it: MLflow, told of the record; slow or gone, it stops nothing."""
