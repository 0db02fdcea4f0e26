"""Offline calculators: a file in, a table out, by the functions that the service decides with."""
