"""Version 1: one blueprint a resource."""
