"""Who asks: what Keystone says of the token, or everybody where there is no Keystone.

Without Keystone anyone who reaches the port is an administrator, so the service listens on a
loopback address only then. Must not know rules.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

from keystoneauth1.exceptions import ClientException
from keystonemiddleware import auth_token
from oslo_config import cfg
from oslo_context.context import RequestContext

from synergy.api.errors import REACHED, Wsgi, shaped
from synergy.core.errors import UpstreamUnavailable

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
            LOG.error("Keystone cannot validate tokens: %s", error)
            start_response("503 Service Unavailable", [])
            return []

    return shaped(guarded)


def check_token(conf: cfg.ConfigOpts, token: str) -> None:
    """Let Keystone validate a token as it does for requests. Raises UpstreamUnavailable."""
    answers: list[str] = []

    def fine(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        confirmed = context_of(environ, KEYSTONE)[1]
        start_response("200 OK" if confirmed else "401 Unauthorized", [])
        return []

    def start(status: str, *_: object) -> Callable[[bytes], object]:
        answers.append(status)
        return lambda _: None

    asked: WSGIEnvironment = {"HTTP_X_AUTH_TOKEN": token, "PATH_INFO": "/v1/projects"}
    setup_testing_defaults(asked)
    list(behind_keystone(fine, conf, ())(asked, start))
    if not answers or not answers[0].startswith("200"):
        raise UpstreamUnavailable(
            f"the API would answer {answers[0] if answers else 'nothing'} to a valid token: "
            "Keystone cannot be asked, or does not confirm it"
        )


def context_of(environ: WSGIEnvironment, strategy: str) -> tuple[RequestContext, bool]:
    """Return whose a request is, and whether that is known."""
    request_id = environ.get("openstack.request_id")
    if strategy == NONE:
        return RequestContext(roles=list(_EVERY_ROLE), request_id=request_id), True
    known = environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed"
    if not known:
        return RequestContext(request_id=request_id), False
    return RequestContext.from_environ(dict(environ), request_id=request_id), True
