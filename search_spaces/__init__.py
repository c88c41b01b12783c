"""What may be tried: parameters, conditions, presets and the networks they describe."""
