"""Measurements: seeded, printing JSON, each with its baseline in the same run."""
