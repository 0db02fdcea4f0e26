"""The drivers for a real OpenStack: Nova's API, Placement, Keystone, and their notifications.

Must not import Nova nor read its database; APIs and messages are all it uses.
"""
