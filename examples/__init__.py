"""Runnable examples: the demo, numbered scripts, benchmarks."""
