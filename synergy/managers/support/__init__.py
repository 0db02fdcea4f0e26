"""What several managers use: types of options, the time, and values as JSON. No manager is here.

Must not know any manager.
"""
