"""Tempest, OpenStack's own tests, as a judge of Synergy: `make tempest`."""
