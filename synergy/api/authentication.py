"""Who asks: what Keystone says of the token, or everybody where there is no Keystone.

Without Keystone whoever reaches the port is an administrator, so the service listens on a loopback
address only then. Must not know rules.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from keystonemiddleware import auth_token
from oslo_context.context import RequestContext

from synergy.api.errors import Wsgi

LOG = logging.getLogger(__name__)
KEYSTONE, NONE = "keystone", "none"
STRATEGIES: Final = (KEYSTONE, NONE)
_EVERY_ROLE: Final = ("admin", "manager", "member", "reader", "service")


def behind_keystone(app: Wsgi, conf: Any) -> Wsgi:
    """Let Keystone say whose the token of each request is; [keystone_authtoken] tells how.

    A request without a valid token is let through as nobody's: some routes are open.
    """
    options = {"oslo_config_config": conf, "delay_auth_decision": True}
    protected: Wsgi = auth_token.AuthProtocol(app, options)
    return protected


def context_of(environ: Mapping[str, Any], strategy: str) -> tuple[RequestContext, bool]:
    """Return whose a request is, and whether that is known."""
    request_id = environ.get("openstack.request_id")
    if strategy == NONE:
        return RequestContext(roles=list(_EVERY_ROLE), request_id=request_id), True
    known = environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed"
    if not known:
        return RequestContext(request_id=request_id), False
    return RequestContext.from_environ(dict(environ), request_id=request_id), True
