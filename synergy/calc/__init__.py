"""Offline calculators: a file in, a table out, computed by the functions that the service uses."""
