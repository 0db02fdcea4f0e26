"""The API as a WSGI application for uwsgi or mod_wsgi; the managers run in synergy-service.

The environment variable SYNERGY_CONFIG_FILES names the configuration files, separated by colons;
without it oslo.config looks where it always does. [api] socket must be that of the service. To be
imported by such a server only: it reads the configuration at once, so that what is wrong with it
is told at the start.
"""

import os

from synergy.api.errors import Wsgi
from synergy.core.errors import ConfigurationInvalid
from synergy.service import logs
from synergy.service.door import BehindDoor
from synergy.service.main import api_of, read_configuration
from synergy.service.options import new_conf, problems_of


def create() -> Wsgi:
    """Return the application. Raises ConfigurationInvalid."""
    conf = new_conf()
    files = [path for path in os.environ.get("SYNERGY_CONFIG_FILES", "").split(":") if path]
    read_configuration(conf, [part for path in files for part in ("--config-file", path)])
    logs.set_up(conf)
    problems = problems_of(conf)
    if not conf.api.socket:
        problems.append("[api] socket is missing: the application reaches synergy-service by it")
    if problems:
        raise ConfigurationInvalid(problems)
    return api_of(BehindDoor(conf.api.socket), conf)


application = create()
