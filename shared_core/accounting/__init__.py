"""Money and energy, and what is written down of a call."""
