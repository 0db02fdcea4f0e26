"""A real OpenStack behind the ports: Nova's API, Placement, Keystone, and their notifications.

Must not import anything of Nova, nor read its database: only what its APIs and messages say.
"""
