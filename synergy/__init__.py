"""Synergy: a fair, shared queue for OpenStack clouds."""
