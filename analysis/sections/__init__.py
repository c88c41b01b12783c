"""The page's sections, from what was asked to how it can be done again."""
