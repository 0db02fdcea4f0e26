"""Values in, values out: everything Synergy decides, and nothing that waits or writes."""
