"""Says whether a value that was made of others is still made of what these are.

Why: whatever asks the cloud takes a while, and what it found is told when it may be old already. An
edition is a number that each change of the others makes another one. Must not know what they are.
"""


def same_edition(one: int | None, other: int | None) -> bool:
    """Return whether both are of one edition; None is of none, as while it is being changed."""
    return one is not None and one == other
