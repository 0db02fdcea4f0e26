"""Writes the configuration files of the lab from the templates."""

import shutil
from pathlib import Path
from string import Template

from lab.settings import SECRET, Settings

TEMPLATES = Path(__file__).parent / "templates"


def account(settings: Settings, user: str) -> str:
    """Return the keystoneauth options of a service user."""
    return "\n".join(
        (
            "auth_type = password",
            f"auth_url = {settings.url('keystone')}/v3",
            f"username = {user}",
            f"password = {SECRET}",
            "project_name = service",
            "user_domain_id = default",
            "project_domain_id = default",
            "region_name = RegionOne",
        )
    )


def middleware(settings: Settings, user: str) -> str:
    """Return the options of keystonemiddleware; it caches no token, so that tests see expiry."""
    return "\n".join(
        (
            account(settings, user),
            f"www_authenticate_uri = {settings.url('keystone')}/v3",
            "service_token_roles = service",
            f"service_token_roles_required = {str(settings.service_tokens).lower()}",
            "token_cache_time = -1",
        )
    )


def database(settings: Settings, name: str) -> str:
    """Return the URL of a database."""
    return f"mysql+pymysql://lab:{SECRET}@127.0.0.1:{settings.ports['mariadb']}/{name}"


def broker(settings: Settings, vhost: str) -> str:
    """Return the URL of a vhost."""
    return f"rabbit://nova:{SECRET}@127.0.0.1:{settings.ports['amqp']}/{vhost}"


def write(settings: Settings) -> None:
    """Rewrite every file; a changed setting takes effect when its service restarts."""
    etc = settings.folder / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    values = {
        "folder": str(settings.folder),
        "venv": str(settings.venv),
        "token_ttl_s": str(settings.token_ttl_s),
        "service_tokens": str(settings.service_tokens).lower(),
        "quorum_queues": str(settings.quorum_queues).lower(),
        "quota_driver": settings.quota_driver,
        "amqp_port": str(settings.ports["amqp"]),
        "core_url": broker(settings, "core"),
        "api_url": broker(settings, settings.api_vhost),
        **{
            f"{name}_database": database(settings, name)
            for name in ("keystone", "placement", "glance", "nova_api", "nova_cell1")
        },
    }
    for path in sorted(TEMPLATES.glob("*.conf")):
        user = path.stem.partition("-")[0]
        own = {"account": account(settings, user), "middleware": middleware(settings, user)}
        (etc / path.name).write_text(Template(path.read_text()).substitute(values | own))
    shutil.copy(TEMPLATES / "nova-policy.yaml", etc)
    for host, driver in settings.computes.items():
        home = settings.folder / "nova" / host
        (home / "instances").mkdir(parents=True, exist_ok=True)
        (etc / f"compute-{host}.conf").write_text(
            f"[DEFAULT]\nhost = {host}\nstate_path = {home}\ncompute_driver = fake.{driver}\n"
            f"[oslo_concurrency]\nlock_path = {home}\n"
        )
