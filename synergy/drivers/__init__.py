"""Adapters: what implements the ports. Each translates foreign exceptions where it meets them."""
