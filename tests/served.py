"""The API over a world without threads, asked by anybody the test makes up."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from jsonschema import Draft202012Validator
from oslo_config import cfg
from oslo_policy import opts
from werkzeug.test import TestResponse

from synergy.api.app import ROUTES, create_app, served
from synergy.api.policies import new_enforcer
from synergy.api.schemas import COMPONENTS
from synergy.core.declared.answers.service import Manager, Readiness
from synergy.core.errors import NotFound
from synergy.managers.supervision.health import health_of
from synergy.managers.supervision.supervisor import Supervisor, supervisor_json
from synergy.service.audit import AuditLog
from tests.builders import World

ROUTE_OF = {route.name: route for route in ROUTES}


class WorldServices:
    """What the host offers, over the supervisors of a world."""

    def __init__(self, world: World) -> None:
        self._supervisors, self._store = world.engine.supervisors, world.store
        self._audit = AuditLog(world.store, world.engine.clock)

    def _named(self, name: str) -> Supervisor:
        if name not in self._supervisors:
            raise NotFound(f"manager {name!r} is not loaded")
        return self._supervisors[name]

    def health(self) -> Readiness:
        reports = [one.report for one in self._supervisors.values()]
        return health_of(reports, damaged=self._store.damaged())

    def managers(self) -> list[Manager]:
        return [supervisor_json(one) for one in self._supervisors.values()]

    def manager(self, name: str) -> Manager:
        return supervisor_json(self._named(name))

    def start_manager(self, name: str) -> Manager:
        self._named(name).start()
        return self.manager(name)

    def stop_manager(self, name: str) -> Manager:
        self._named(name).stop()
        return self.manager(name)

    def begin_change(self, entry: Mapping[str, Any]) -> int:
        return self._audit.begin(json.loads(json.dumps(entry)))

    def settle_change(self, number: int, settled: Mapping[str, Any]) -> None:
        self._audit.settle(number, json.loads(json.dumps(settled)))

    def changes(self, filters: Mapping[str, Any]) -> list[Any]:
        shown: list[Any] = json.loads(json.dumps(self._audit.list(filters)))
        return shown

    def execute(self, name: str, command: str, arguments: Mapping[str, Any]) -> Any:
        answer = self._named(name).execute(command, arguments)
        carried = json.loads(json.dumps(answer))
        assert carried == answer, "an answer is made of plain values, or no message can carry it"
        return carried


class Api:
    """A client that checks every answer against the schema that the API publishes."""

    def __init__(
        self, world: World, *, strategy: str = "keystone", policy_file: Path | None = None,
        costly_per_minute: int = 10_000, monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        conf = cfg.ConfigOpts()
        conf([], project="synergy", default_config_files=[], default_config_dirs=[])
        for group, options in opts.list_opts():
            conf.register_opts(options, group=group)
        if policy_file:
            conf.set_override("policy_file", str(policy_file), group="oslo_policy")
        self._conf, self._strategy, self._enforcer = conf, strategy, new_enforcer(conf, monotonic_s)
        self.services = WorldServices(world)
        self.app = create_app(
            self.services, self._enforcer, strategy=strategy, costly_per_minute=costly_per_minute,
            monotonic_s=monotonic_s,
        )  # fmt: skip
        self._client = self.app.test_client()
        self.as_nobody()

    def whole(self) -> Any:
        """Return the application with everything that stands before it, except Keystone."""
        return served(
            self.services, self._enforcer, self._conf, strategy=self._strategy, longest_body=10_000
        )

    def as_nobody(self) -> Self:
        self.headers: dict[str, str] = {}
        return self

    def as_(self, *roles: str, project: str | None = None, user: str = "somebody") -> Self:
        self.headers = {
            "X-Identity-Status": "Confirmed", "X-Roles": ",".join(roles), "X-User-Id": user,
            **({"X-Project-Id": project} if project else {}),
        }  # fmt: skip
        return self

    def as_admin(self) -> Self:
        return self.as_("admin", "manager", "member", "reader", project="admin")

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Return (status, JSON, headers), checked."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._client.open(path, method=method, json=body, headers=self.headers | named)
        self._check(method, path, answer)
        return answer.status_code, answer.get_json(silent=True), answer.headers

    def get(self, path: str, **headers: str) -> Any:
        status, found, _ = self.ask("GET", path, **headers)
        assert status == 200, found
        return found

    def raw_text(self, path: str) -> str:
        return str(self._client.get(path, headers=self.headers).get_data(as_text=True))

    def raw(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        answer = self._client.open(path, method=method, headers=self.headers, **options)
        self._check(method, path, answer)
        return answer.status_code, answer.get_json(silent=True)

    def _check(self, method: str, path: str, answer: TestResponse) -> None:
        adapter = self.app.url_map.bind("localhost")
        if answer.status_code >= 400 and not path.startswith("/healthcheck"):
            _valid({"$ref": "#/components/schemas/Error"}, answer.get_json())
            told = answer.get_json()["errors"][0]
            assert told["status"] == answer.status_code
            assert "Traceback" not in told["detail"]
            return
        name, _ = adapter.match(path.partition("?")[0], method=method)
        route = ROUTE_OF[name]
        if route.tried is not None and answer.data:
            _valid(route.tried, answer.get_json())
            assert answer.status_code == 200
        elif route.answer is None:
            assert answer.data == b""
        elif route.media_type == "application/json":
            _valid(route.answer, answer.get_json())
            assert answer.status_code == route.status or path.startswith("/healthcheck")


def _valid(schema: Mapping[str, Any] | None, value: object) -> None:
    assert schema is not None
    whole = {**schema, "components": {"schemas": COMPONENTS}}
    Draft202012Validator(whole).validate(value)
