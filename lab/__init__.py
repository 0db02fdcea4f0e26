"""A real OpenStack on loopback, for trying Synergy beside it: python -m lab up | down | status.

Why: the promise is that Synergy works with an unmodified Nova by configuration alone, so the tests
need one. Everything lives below one folder; nothing of the machine's own services is touched.
"""
