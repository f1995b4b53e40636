"""Benchmarks: each is a script that writes a JSON file and prints the table drawn from it."""
