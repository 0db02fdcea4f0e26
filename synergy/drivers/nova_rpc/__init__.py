"""The relay between nova-api and Nova's conductor on AMQP.

nova-api publishes to a vhost of its own (edge); all other Nova services use another vhost (core).
What Synergy does not manage is relayed unchanged in both directions. The relay works on message
envelopes, so it imports nothing of Nova and does not depend on RPC versions.
"""
