"""What python-novaclient costs beside openstacksdk: a page of 1,000 servers, and 100 deletes.

Nova is a stand-in of its own process that answers at once, so the figures are those of the clients;
both take their turns in the same run. A real Nova adds the same to both.
"""

import json
import multiprocessing
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from oslo_config import cfg

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Figures, show
from synergy.drivers.nova_message import demand_of
from synergy.drivers.openstack import nova_client, plugin, session
from synergy.drivers.openstack.nova_api import NovaApi
from synergy.ports import ServerStatus, ServerView

SERVERS, DELETES, ROUNDS = 1_000, 100, 9
SERVICES = {"identity": "/v3", "compute": "/v2.1", "placement": "", "image": ""}


def server(number: random.Random) -> Figures:
    """One server as Nova shows it to an administrator at microversion 2.53."""
    one, vcpus = str(uuid.UUID(int=number.getrandbits(128))), number.randint(1, 16)
    return {
        "id": one, "name": f"node-{one[:8]}", "status": "ACTIVE", "tenant_id": one.replace("-", ""),
        "user_id": one.replace("-", "")[::-1], "metadata": {"quota": "shared"}, "hostId": "0" * 56,
        "image": {"id": one, "links": [{"rel": "bookmark", "href": f"http://nova/images/{one}"}]},
        "flavor": {
            "vcpus": vcpus, "ram": 2048 * vcpus, "disk": 20, "ephemeral": 0, "swap": 0,
            "original_name": f"m1.{vcpus}", "extra_specs": {"hw:cpu_policy": "shared"},
        },
        "created": "2026-11-26T12:00:00Z", "updated": "2026-11-26T12:01:00Z", "progress": 0,
        "addresses": {"net": [{"version": 4, "addr": "10.0.0.1", "OS-EXT-IPS:type": "fixed"}]},
        "accessIPv4": "", "accessIPv6": "", "config_drive": "", "key_name": None, "tags": [],
        "links": [{"rel": "self", "href": f"http://nova/v2.1/servers/{one}"}],
        "OS-DCF:diskConfig": "AUTO", "OS-EXT-AZ:availability_zone": "nova",
        "OS-SRV-USG:launched_at": "2026-11-26T12:01:00.000000", "OS-SRV-USG:terminated_at": None,
        "OS-EXT-SRV-ATTR:host": "node1", "OS-EXT-SRV-ATTR:hypervisor_hostname": "node1",
        "OS-EXT-SRV-ATTR:instance_name": "instance-00000001", "OS-EXT-SRV-ATTR:hostname": "node",
        "OS-EXT-SRV-ATTR:reservation_id": "r-1", "OS-EXT-SRV-ATTR:launch_index": 0,
        "OS-EXT-SRV-ATTR:kernel_id": "", "OS-EXT-SRV-ATTR:ramdisk_id": "",
        "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda", "OS-EXT-SRV-ATTR:user_data": None,
        "OS-EXT-STS:task_state": None, "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:power_state": 1, "os-extended-volumes:volumes_attached": [],
        "host_status": "UP", "locked": False, "description": None,
    }  # fmt: skip


def token(url: str) -> Figures:
    """A token of an administrator, with the catalogue."""
    endpoints = {
        kind: {"id": kind, "interface": "internal", "region": "R", "region_id": "R",
               "url": f"{url}/{kind}{path}"}
        for kind, path in SERVICES.items()
    }  # fmt: skip
    domain = {"id": "default", "name": "Default"}
    return {"token": {
        "methods": ["password"], "user": {"id": "u", "name": "synergy", "domain": domain},
        "project": {"id": "p", "name": "service", "domain": domain},
        "roles": [{"id": "r", "name": "admin"}], "expires_at": "2999-01-01T00:00:00.000000Z",
        "issued_at": "2026-01-01T00:00:00.000000Z",
        "catalog": [
            {"id": kind, "type": kind, "name": kind, "endpoints": [endpoint]}
            for kind, endpoint in endpoints.items()
        ],
    }}  # fmt: skip


def serve(ports: "multiprocessing.Queue[int]") -> None:
    """Answer as Keystone and Nova until killed."""
    number = random.Random(1)
    listed = [server(number) for _ in range(SERVERS)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(201, json.dumps(token(url)).encode(), X_Subject_Token="a-token")

        def do_DELETE(self) -> None:
            self._answer(204, b"")

        def do_GET(self) -> None:
            if "/servers/detail" in self.path:
                self._answer(200, empty if "marker=" in self.path else page)
            else:
                self._answer(200, json.dumps(versions(url, self.path.split("/")[1])).encode())

        def log_message(self, *args: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{made.server_port}"
    following = f"{url}/compute/v2.1/servers/detail?all_tenants=1&limit=1000"
    after = [{"rel": "next", "href": f"{following}&marker={listed[-1]['id']}"}]
    page = json.dumps({"servers": listed, "servers_links": after}).encode()
    empty = json.dumps({"servers": []}).encode()
    ports.put(made.server_port)
    made.serve_forever()


def versions(url: str, kind: str) -> Figures:
    """What a service says of its versions."""
    one = {
        "id": "v3.14" if kind == "identity" else "v2.1", "status": "CURRENT", "version": "2.96",
        "max_version": "2.96", "min_version": "2.1",
        "links": [{"rel": "self", "href": f"{url}/{kind}{SERVICES[kind]}/"}],
    }  # fmt: skip
    return {"version": one, "versions": [one]}


@contextmanager
def stand_in() -> Iterator[str]:
    """Start Keystone and Nova, and yield their URL."""
    spawn = multiprocessing.get_context("spawn")
    ports: multiprocessing.Queue[int] = spawn.Queue()
    process = spawn.Process(target=serve, args=(ports,))
    process.start()
    try:
        yield f"http://127.0.0.1:{ports.get(timeout=60)}"
    finally:
        process.terminate()
        process.join()


class BySdk:
    """The same two requests as openstacksdk makes them, to the same views."""

    def __init__(self, cloud: Any) -> None:
        self._cloud = cloud

    def servers_of(self, project_id: None) -> Iterator[ServerView]:
        return map(view_of, self._cloud.compute.servers(all_projects=True, limit=SERVERS))

    def delete_server(self, server_id: str) -> None:
        self._cloud.compute.delete_server(server_id, ignore_missing=True)


def view_of(one: Any) -> ServerView:
    """Convert a server of openstacksdk."""
    flavor = one.flavor
    shape = {
        "name": flavor.original_name, "vcpus": flavor.vcpus, "memory_mb": flavor.ram,
        "root_gb": flavor.disk, "ephemeral_gb": flavor.ephemeral, "swap": flavor.swap,
    }  # fmt: skip
    image, fault = one.image.id if one.image else None, (one.fault or {}).get("message", "")
    return ServerView(
        server_id=one.id, project_id=one.project_id, user_id=one.user_id, name=one.name or "",
        flavor=flavor.original_name or "",
        demand=demand_of(shape, flavor.extra_specs or {}, boots_from_volume=not image),
        status=ServerStatus[one.status], in_task=bool(one.task_state),
        created_at=datetime.fromisoformat(one.created_at),
        launched_at=datetime.fromisoformat(one.launched_at).replace(tzinfo=UTC),
        host=one.compute_host or None, fault=fault,
    )  # fmt: skip


def delete_all(nova: BySdk | NovaApi, ids: Sequence[str]) -> None:
    """Delete one server after the other."""
    for one in ids:
        nova.delete_server(one)


def in_turns(works: Mapping[str, Callable[[], object]]) -> Figures:
    """Let the works take turns; return the median of each in milliseconds, and their ratio."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            began_s = time.perf_counter()
            work()
            taken[name].append((time.perf_counter() - began_s) * 1e3)
    found = {f"{name}_ms": statistics.median(values) for name, values in taken.items()}
    first, second = found.values()
    return found | {"ratio": second / first}


def main() -> None:
    with stand_in() as url:
        conf = cfg.ConfigOpts()
        conf.register_opts(plugin.OPTIONS, group=plugin.GROUP)
        conf([])
        for name, value in {
            "auth_type": "password", "username": "synergy", "password": "secret",
            "project_name": "service", "user_domain_id": "default",
            "project_domain_id": "default", "region_name": "R", "auth_url": f"{url}/identity/v3",
        }.items():  # fmt: skip
            conf.set_override(name, value, group=plugin.GROUP)
        opened, group = session.open_session(conf), conf[plugin.GROUP]
        cloud = session.connect(opened, group)
        before = BySdk(cloud)
        after = NovaApi(nova_client.connect(opened, group), cloud)
        if list(before.servers_of(None)) != list(after.servers_of(None)):
            raise SystemExit("the two clients do not show the same servers")
        ids = [str(uuid.UUID(int=n)) for n in range(DELETES)]
        pages = {
            "openstacksdk": lambda: list(before.servers_of(None)),
            "novaclient": lambda: list(after.servers_of(None)),
        }
        deletes = {
            "openstacksdk": partial(delete_all, before, ids),
            "novaclient": partial(delete_all, after, ids),
        }
        show({
            "benchmark": "nova_api",
            "baseline": "openstacksdk on the same session",
            f"page_of_{SERVERS}": in_turns(pages),
            f"burst_of_{DELETES}_deletes": in_turns(deletes),
        })  # fmt: skip


if __name__ == "__main__":
    main()
