"""Runs managers one by one and tells how they are. No manager is here.

Must not know what a manager does.
"""
