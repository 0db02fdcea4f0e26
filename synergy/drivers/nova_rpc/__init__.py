"""Stands between nova-api and Nova's conductor on AMQP.

nova-api publishes to a vhost of its own (edge); everybody else of Nova is on another (core). What
Synergy does not manage is relayed as it came, in both directions. Works on the messages' envelopes,
so it needs nothing of Nova, and versions of its interface do not matter.
"""
