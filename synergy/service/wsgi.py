"""The API as a WSGI application for uwsgi or mod_wsgi; the managers run in synergy-service.

The environment variable SYNERGY_CONFIG_FILES lists the configuration files, separated by colons;
without it oslo.config searches its default places. [api] socket must be the same as the service's.
Only such a server may import this module: it reads the configuration at import, so that errors in
it show at the start.
"""

import os

from synergy.api.errors import Wsgi
from synergy.core.errors import ConfigurationInvalid
from synergy.service import logs
from synergy.service.local_rpc import LocalRpcClient
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
        problems.append(
            "[api] socket is missing: the application needs it to reach synergy-service"
        )
    if problems:
        raise ConfigurationInvalid(problems)
    return api_of(LocalRpcClient(conf.api.socket), conf)


application = create()
