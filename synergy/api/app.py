"""The application factory: every route is checked, authorized, called and answered in one place."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

from flask import Flask, Response, g, jsonify, request
from oslo_config import cfg
from oslo_middleware import CORS, HTTPProxyToWSGI, RequestId

from synergy.api import authentication, errors
from synergy.api.local import only_local
from synergy.api.metrics import Metrics
from synergy.api.pace import Pace
from synergy.api.policies import Caller, Enforcer
from synergy.api.routing import Answer, Body, Call, Lane, LaneTable, Route
from synergy.api.schema import Checker
from synergy.api.schemas import COMPONENTS
from synergy.api.services import ServiceHost, Services
from synergy.api.trail import Trail
from synergy.api.v1 import audit, expiry, managers, projects, reads, requests, service
from synergy.api.visibility import Visibility

LOG = logging.getLogger(__name__)
_TAG: Final = re.compile(r'"([^"]*)"')
LONGEST_BODY: Final = 1024 * 1024
COSTLY_PER_MINUTE: Final = 120
REFUSALS_PER_MINUTE: Final = 60  # of one caller, that are written down
_NOUNS: Final = (
    *managers.ROUTES, *projects.ROUTES, *requests.ROUTES, *expiry.ROUTES, *reads.ROUTES,
    *audit.ROUTES,
)  # fmt: skip
ROUTES: Final[tuple[Route, ...]] = (*service.routes(_NOUNS), *_NOUNS)
LANE_OF: Final = LaneTable(ROUTES)
VISIBILITY: Final = Visibility(COMPONENTS)


def create_app(
    host: ServiceHost,
    enforcer: Enforcer,
    *,
    strategy: str,
    longest_body: int = LONGEST_BODY,
    costly_per_minute: int = COSTLY_PER_MINUTE,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> Flask:
    """Return the application; `strategy` says who tells whose a request is."""
    app = Flask("synergy.api")
    app.config["MAX_CONTENT_LENGTH"] = longest_body
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    errors.register(app)
    services = Services(host)
    metrics, pace = Metrics(services), Pace(costly_per_minute, monotonic_s)
    refusals = Pace(REFUSALS_PER_MINUTE, monotonic_s)

    def trails(who: Mapping[str, object]) -> Trail:
        return Trail(host, who, refusals)

    for route in ROUTES:
        app.add_url_rule(
            route.flask_path,
            endpoint=route.name,
            methods=[route.method],
            view_func=_view(route, services, enforcer, strategy, metrics, pace, trails),
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
    host: ServiceHost,
    enforcer: Enforcer,
    conf: cfg.ConfigOpts,
    *,
    strategy: str,
    longest_body: int,
    costly_per_minute: int = COSTLY_PER_MINUTE,
) -> errors.Wsgi:
    """Return the whole WSGI application: request ids, proxies, CORS, Keystone, then the routes.

    conf  has [keystone_authtoken], [cors] and [oslo_middleware]
    """
    # From the inside out; a request passes the last layer first.
    #   routes       rules, schemas, audit. They need to know the caller, so Keystone is outside.
    #   Keystone     checks the token, and leaves who asks in the environment.
    #   CORS         a browser asks first without a token whether it may ask at all: Keystone's
    #                layer would refuse that question.
    #   proxy        takes address and scheme from the proxy's headers. The layers inside write
    #                links and log addresses, so they have to see what the client used.
    #   only local   without Keystone the address is the only guard, so it must be that of the
    #                connection, before a header could replace it.
    #   request id   outermost: a refusal by any layer has an id to look up in the log.
    app: errors.Wsgi = create_app(
        host,
        enforcer,
        strategy=strategy,
        longest_body=longest_body,
        costly_per_minute=costly_per_minute,
    ).wsgi_app
    if strategy == authentication.KEYSTONE:
        open_paths = {route.path for route in ROUTES if route.rule is None}
        app = authentication.behind_keystone(app, conf, open_paths)
        app = CORS(app, conf)  # outside of Keystone's: a browser asks without a token first
    app = HTTPProxyToWSGI(app, conf)
    if strategy == authentication.NONE:
        app = only_local(app)  # outside the proxy's: what it says of others is not believed
    wrapped: errors.Wsgi = RequestId(app)
    return wrapped


def _view(
    route: Route,
    services: Services,
    enforcer: Enforcer,
    strategy: str,
    metrics: Metrics,
    pace: Pace,
    trails: Callable[[Mapping[str, object]], Trail],
) -> Callable[..., Response]:
    checker = Checker(route)

    def view(**at: str) -> Response:
        context, known = authentication.context_of(request.environ, strategy)
        caller = Caller(context, enforcer, known=known)
        g.caller = caller
        if route.rule is not None:
            caller.identify()
        if route.lane is Lane.COSTLY:
            pace.check(caller.user_id or request.remote_addr or "", f"{route.method} {route.path}")

        def called() -> Call:
            return Call(
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

        if route.method == "GET":
            return _answered(route, _handled(route, called()), caller)
        return _changed(route, called, caller, trails)

    view.__doc__ = route.summary
    return view


def _handled(route: Route, call: Call) -> Body | Answer:
    if route.rule is not None and route.general:
        call.caller.authorize(route.rule)
    return route.handler(call)


def _changed(
    route: Route,
    called: Callable[[], Call],
    caller: Caller,
    trails: Callable[[Mapping[str, object]], Trail],
) -> Response:
    """Make a change, and leave its trail, be it made or refused."""
    who = {
        **caller.identity(),
        "address": request.remote_addr or "",
        "operation": route.name,
        "target": request.path,
        "asked": {},
    }
    trail = trails(who)
    with trail.followed():
        call = called()
    if not route.is_change(call):
        return _answered(route, _handled(route, call), caller)
    trail = trails({**who, "asked": call.body})
    with trail.followed():
        if route.rule is not None and route.general:
            caller.authorize(route.rule)
        trail.begin(lambda: route.before(call) if route.before is not None else None)
        found = route.handler(call)
        body = found.body if isinstance(found, Answer) else found
        trail.done(204 if body is None else route.status, _noun(body))
    return _answered(route, found, caller)


def _noun(body: Body) -> Mapping[str, object] | None:
    """Return what an answer shows, such as {"project": {...}}."""
    shown = next(iter(body.values())) if isinstance(body, Mapping) and len(body) == 1 else body
    return shown if isinstance(shown, Mapping) else None


def _revisions(if_match: str | None) -> list[str] | None:
    """Return the revisions that If-Match names; None matches all, as without the header."""
    if if_match is None or if_match.strip() == "*":
        return None
    return _TAG.findall(if_match)


def _answered(route: Route, found: Body | Answer, caller: Caller) -> Response:
    body = found.body if isinstance(found, Answer) else found
    if body is None:
        return Response(status=204)
    if isinstance(body, bytes):
        return Response(body, content_type=route.media_type)
    operates = route.rule is None or caller.operates
    answer = jsonify(body if operates else VISIBILITY.to_project(route.answer or route.tried, body))
    answer.status_code = _status(route, body)
    if isinstance(found, Answer) and found.revision is not None:
        answer.set_etag(found.revision)
    return answer


def _status(route: Route, body: Mapping[str, object]) -> int:
    asked = {"healthcheck": "healthy", "healthcheck_ready": "ready"}.get(route.name)
    if asked is not None and not body[asked]:
        return 503
    return route.status_of(body)
