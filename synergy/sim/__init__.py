"""Runs the service's own managers under a virtual clock."""
