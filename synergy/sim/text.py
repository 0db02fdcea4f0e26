"""Numbers of a simulation as people read them. Must not know what they are about."""


def percent(part: float) -> str:
    """Return a fraction as a percentage."""
    return f"{100 * part:.2f} %"


def duration(seconds: float) -> str:
    """Return seconds in a readable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds >= 4 * 86_400:
        return f"{seconds / 86_400:.1f} days"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
