"""A real OpenStack on loopback, for trying Synergy beside it: python -m lab up | down | status.

Why: Synergy promises to work with an unmodified Nova by configuration alone, so the tests need one.
Everything is in one folder; the machine's own services are not touched.
"""
