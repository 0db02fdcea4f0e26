"""The settings of managed projects, of their users, and of single requests.

Each is declared with its field in `model`; what the service, the command line and the pages make of
them, they make of these tables.
"""

from typing import Final

from synergy.core.declared.fields import Setting, settings_of
from synergy.core.model import Association, Project, RequestClass

PROJECT_SETTINGS: Final[tuple[Setting, ...]] = settings_of(Project)
USER_SETTINGS: Final[tuple[Setting, ...]] = settings_of(Association)
CLASS_SETTINGS: Final[tuple[Setting, ...]] = settings_of(RequestClass)
