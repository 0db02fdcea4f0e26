"""The application factory: every route is checked, authorized, called and answered in one place."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from flask import Flask, Response, g, jsonify, request
from oslo_middleware import HTTPProxyToWSGI, RequestId

from synergy.api import authentication, errors
from synergy.api.metrics import Metrics
from synergy.api.policies import Caller, Enforcer
from synergy.api.routing import Answer, Call, LaneTable, Route
from synergy.api.schema import Checker
from synergy.api.services import Services
from synergy.api.v1 import expiry, managers, projects, reports, requests, service

LOG = logging.getLogger(__name__)
_TAG: Final = re.compile(r'"([^"]*)"')
LONGEST_BODY: Final = 1024 * 1024
_NOUNS: Final = (
    *managers.ROUTES, *projects.ROUTES, *requests.ROUTES, *expiry.ROUTES, *reports.ROUTES,
)  # fmt: skip
ROUTES: Final[tuple[Route, ...]] = (*service.routes(_NOUNS), *_NOUNS)
LANE_OF: Final = LaneTable(ROUTES)


def create_app(
    services: Services,
    enforcer: Enforcer,
    *,
    strategy: str,
    longest_body: int = LONGEST_BODY,
) -> Flask:
    """Return the application; `strategy` says who tells whose a request is."""
    app = Flask("synergy.api")
    app.config["MAX_CONTENT_LENGTH"] = longest_body
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    errors.register(app)
    metrics = Metrics(services)
    for route in ROUTES:
        app.add_url_rule(
            route.flask_path,
            endpoint=route.name,
            methods=[route.method],
            view_func=_view(route, services, enforcer, strategy, metrics),
        )

    @app.before_request
    def begin() -> None:
        g.began_s = time.monotonic()

    @app.after_request
    def finish(answer: Response) -> Response:
        operation = request.endpoint or "none"
        metrics.answered(operation, answer.status_code, time.monotonic() - g.began_s)
        return answer

    return app


def served(
    services: Services, enforcer: Enforcer, conf: Any, *, strategy: str, longest_body: int
) -> errors.Wsgi:
    """Return the whole WSGI application: request ids, proxies, Keystone, then the routes.

    conf  has [keystone_authtoken] and [oslo_middleware]
    """
    app: errors.Wsgi = create_app(
        services, enforcer, strategy=strategy, longest_body=longest_body
    ).wsgi_app
    if strategy == authentication.KEYSTONE:
        open_paths = {route.path for route in ROUTES if route.rule is None}
        app = authentication.behind_keystone(app, conf, open_paths)
    app = HTTPProxyToWSGI(app, conf)
    wrapped: errors.Wsgi = RequestId(app)
    return wrapped


def _view(
    route: Route, services: Services, enforcer: Enforcer, strategy: str, metrics: Metrics
) -> Callable[..., Any]:
    checker = Checker(route)

    def view(**at: str) -> Any:
        context, known = authentication.context_of(request.environ, strategy)
        caller = Caller(context, enforcer, known=known)
        if route.rule is not None:
            caller.identify()
        call = Call(
            services=services,
            caller=caller,
            at=at,
            query=checker.query_of(request),
            body=checker.body_of(request),
            if_match=_revisions(request.headers.get("If-Match")),
            url=request.path,
            metrics=metrics.text,
            secured=strategy != authentication.NONE,
        )
        if route.rule is not None and route.general:
            caller.authorize(route.rule)
        return _answered(route, route.handler(call))

    view.__doc__ = route.summary
    return view


def _revisions(if_match: str | None) -> list[str] | None:
    """Return the revisions that If-Match names; None matches all, as without the header."""
    if if_match is None or if_match.strip() == "*":
        return None
    return _TAG.findall(if_match)


def _answered(route: Route, found: Any) -> Response:
    body = found.body if isinstance(found, Answer) else found
    if body is None:
        return Response(status=204)
    if isinstance(body, bytes):
        return Response(body, content_type=route.media_type)
    answer = jsonify(body)
    answer.status_code = _status(route, body)
    if isinstance(found, Answer) and found.revision is not None:
        answer.set_etag(found.revision)
    return answer


def _status(route: Route, body: Mapping[str, Any] | Sequence[Any]) -> int:
    asked = {"healthcheck": "healthy", "healthcheck_ready": "ready"}.get(route.name)
    if asked is not None and isinstance(body, Mapping) and not body[asked]:
        return 503
    return route.status
