"""What came out of a study: its record as numbers, its front, tables, figures and the report.

Reads a record and nothing else: no torch, no Ray, and no other room of this project.
"""
