"""Demand that is made up: who asks for what and when, as a file says.

Why: a log tells what was; an operator asks what would be. Must not know how requests are scheduled.
"""
