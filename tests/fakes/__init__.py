"""Fake models that answer deterministically, for tests without a network."""
