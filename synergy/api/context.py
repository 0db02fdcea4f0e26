"""The services that the present application was given."""

from typing import cast

from flask import current_app

from synergy.api.services import Services


def services() -> Services:
    """Return what `create_app` was given."""
    return cast(Services, current_app.extensions["synergy"])
