"""Who asks: what Keystone says of the token, or everybody where there is no Keystone.

Without Keystone whoever reaches the port is an administrator, so the service listens on a loopback
address only then. Must not know rules.
"""

import logging
from collections.abc import Collection, Iterable
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment

from keystoneauth1.exceptions import ClientException
from keystonemiddleware import auth_token
from oslo_config import cfg
from oslo_context.context import RequestContext

from synergy.api.errors import REACHED, Wsgi, shaped

LOG = logging.getLogger(__name__)
KEYSTONE: Final = "keystone"
NONE: Final = "none"
_EVERY_ROLE: Final = ("admin", "manager", "member", "reader", "service")


def behind_keystone(app: Wsgi, conf: cfg.ConfigOpts, open_paths: Collection[str]) -> Wsgi:
    """Let Keystone say whose the token of each request is; [keystone_authtoken] tells how.

    A request without a token is let through as nobody's, as is one to an open path: some routes
    need none, and those that do refuse it in our own words.
    """

    def reached(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[REACHED] = True
        return app(environ, start_response)

    protected = auth_token.AuthProtocol(reached, {"oslo_config_config": conf})

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AUTH_TOKEN") or environ.get("PATH_INFO") in open_paths:
            environ.pop("HTTP_X_IDENTITY_STATUS", None)  # only Keystone's word counts
            return reached(environ, start_response)
        try:
            answer: Iterable[bytes] = protected(environ, start_response)
            return answer
        except ClientException as error:  # what the middleware does not translate
            LOG.error("Keystone cannot be asked whose a token is: %s", error)
            start_response("503 Service Unavailable", [])
            return []

    return shaped(guarded)


def context_of(environ: WSGIEnvironment, strategy: str) -> tuple[RequestContext, bool]:
    """Return whose a request is, and whether that is known."""
    request_id = environ.get("openstack.request_id")
    if strategy == NONE:
        return RequestContext(roles=list(_EVERY_ROLE), request_id=request_id), True
    known = environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed"
    if not known:
        return RequestContext(request_id=request_id), False
    return RequestContext.from_environ(dict(environ), request_id=request_id), True
