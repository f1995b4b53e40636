"""Strategies carried out: the run in the middle, four drivers around it."""
