"""The lab's folder, ports and settings, from the environment."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVICES = (
    "mariadb", "amqp", "amqp_dist", "epmd", "keystone", "placement", "glance", "neutron", "nova"
)  # fmt: skip
SECRET = "secret"  # of every account in the lab; nothing but loopback can reach it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The lab's folder, ports and settings.

    api_vhost       the RabbitMQ vhost that nova-api publishes to: "edge" with Synergy in between,
                    "core" without
    token_ttl_s     lifetime of Keystone's tokens
    service_tokens  whether Nova sends its own token beside the user's
    quota_driver    DbQuotaDriver or UnifiedLimitsDriver
    quorum_queues   whether every service declares quorum queues
    computes        host -> class of nova.virt.fake
    """

    folder: Path
    ports: dict[str, int]
    api_vhost: str
    token_ttl_s: int
    service_tokens: bool
    quota_driver: str
    quorum_queues: bool
    computes: dict[str, str]

    @property
    def venv(self) -> Path:
        """The virtual environment of OpenStack, separate from Synergy's own."""
        return self.folder / "venv"

    def url(self, service: str) -> str:
        """Return the URL of a service."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def bin(self, name: str) -> str:
        """Return the path of a program of OpenStack."""
        return str(self.venv / "bin" / name)


def read_settings() -> Settings:
    """Read the environment; ports are chosen once and then kept in the folder."""
    given = os.environ
    folder = Path(given.get("LAB_FOLDER", ROOT / ".openstack")).resolve()
    computes = given.get("LAB_COMPUTES", "fake1 fake2").split()
    driver = given.get("LAB_DRIVER", "MediumFakeDriver")
    return Settings(
        folder=folder,
        ports=_ports(folder),
        api_vhost=given.get("LAB_API_VHOST", "core"),
        token_ttl_s=int(given.get("LAB_TOKEN_TTL_S", "3600")),
        service_tokens=given.get("LAB_SERVICE_TOKENS", "1") == "1",
        quota_driver=given.get("LAB_QUOTA_DRIVER", "DbQuotaDriver"),
        quorum_queues=given.get("LAB_QUORUM_QUEUES", "1") == "1",
        computes={name: cls or driver for name, _, cls in (one.partition(":") for one in computes)},
    )


def _ports(folder: Path) -> dict[str, int]:
    path = folder / "ports.json"
    if path.exists():
        kept: dict[str, int] = json.loads(path.read_text())
        return kept
    held = [socket.socket() for _ in SERVICES]  # all open at once, so that no port is chosen twice
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = {name: one.getsockname()[1] for name, one in zip(SERVICES, held, strict=True)}
    for one in held:
        one.close()
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ports, indent=2))
    return ports
