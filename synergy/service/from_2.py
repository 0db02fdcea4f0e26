"""synergy-manage migrate-from-2: from a configuration and database of Synergy 2.6 to one of ours.

Why: an operator has to know of each value whether it still counts, and where; a value that is left
out silently is found missing months later. So each option of 2.6 has an entry here, and what has
none is told. Reads the old files and tables, and writes only new files. Must not know the service.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from configparser import Error as ParserError
from configparser import RawConfigParser
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from oslo_config import cfg
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from synergy.core.errors import Conflict, InvalidInput
from synergy.service.waiting_in_2 import OldRequest, RequestFate, fates_of, table_of

CONFIGURATION: Final = "synergy.conf"
PROJECTS: Final = "add-projects.sh"
WAITING: Final = "waiting-servers.csv"
MASKED: Final = "***"
_ROWS: Final = "SELECT id, user_id, prj_id, creation_time, data FROM {} ORDER BY id"
_QUEUE: Final = "DYNAMIC"
_LONGEST_TTL_S: Final = 366 * 86_400
_SECRETS: Final = ("password", "amqp_url", "amqp_password", "db_connection",
                   "metadata_proxy_shared_secret")  # fmt: skip
Converter = Callable[[str], str]


class Fate(StrEnum):
    """What becomes of a value."""

    TAKEN = "taken"
    RENAMED = "renamed"
    GONE = "gone"
    UNKNOWN = "unknown"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What becomes of an option of 2.6.

    section, option  where it is now; "" if it is gone
    convert          the old text to the new one. Raises ValueError
    why              of one that is gone, or whose meaning changed
    """

    section: str = ""
    option: str = ""
    convert: Converter = str.strip
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of the old configuration, and what becomes of it; secrets are masked in `value`."""

    file: str
    section: str
    option: str
    value: str
    fate: Fate
    target: str = ""
    new_value: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldProject:
    """A project of 2.6; `why` is what had to be changed about it."""

    project_id: str
    name: str
    raw_shares: int
    ttl_s: int
    why: str = ""


def _whole(minimum: int, maximum: int, times: float = 1) -> Converter:
    def convert(old: str) -> str:
        number = int(int(old) * times)
        if not minimum <= number <= maximum:
            raise ValueError(f"{number} is not from {minimum} to {maximum}")
        return str(number)

    return convert


def _fraction(old: str) -> str:
    number = float(old)
    if not 0 <= number <= 1:
        raise ValueError(f"{old} is not from 0 to 1")
    return str(number)


def _shares(old: str) -> str:
    return str(max(0, round(float(old))))


def _flag(old: str) -> str:
    if old.strip().lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ValueError(f"{old!r} is neither true nor false")
    return str(old.strip().lower() in ("true", "1", "yes", "on")).lower()


def _debug(old: str) -> str:
    return str(old.strip().upper() in ("DEBUG", "NOTSET")).lower()


_RATE: Final = "passes follow events now; rate_s only bounds how late a lost event is noticed"
_GROUPS: Final = {
    "SchedulerManager": "scheduler",
    "FairShareManager": "fairshare",
    "KeystoneManager": "keystone",
    "NovaManager": "nova",
    "QueueManager": "queue",
    "QuotaManager": "quota",
    "ProjectManager": "project",
}
_POOL: Final = "the pool of connections needs no setting"
_OWN_DATABASE: Final = (
    "the new database is another one: set [database] connection, and give the old URL to "
    "migrate-from-2 as DATABASE"
)
_NO_TOPIC: Final = "Synergy stands between nova-api's own vhost and that of all other services"
_PLACEMENT: Final = "capacity and allocation ratios come from Placement"
_CATALOGUE: Final = "endpoints come from Keystone's catalogue"
_PARTS: Final = "part of [openstack] core_url, which has to be written by hand"
_TLS: Final = "TLS of services is set by [openstack] cafile, certfile and keyfile"
RULES: Final[Mapping[tuple[str, str], _Rule]] = {
    ("Logger", "filename"): _Rule("DEFAULT", "log_file"),
    ("Logger", "level"): _Rule("DEFAULT", "debug", _debug, "only DEBUG has an equivalent"),
    ("Logger", "formatter"): _Rule(why="oslo.log formats lines: logging_context_format_string"),
    ("Logger", "maxbytes"): _Rule(
        "DEFAULT", "max_logfile_size_mb", lambda old: str(max(1, int(old) // 2**20)),
        "counts only with log_rotation_type = size",
    ),
    ("Logger", "backupcount"): _Rule("DEFAULT", "max_logfile_count", _whole(1, 10_000),
                                     "counts only with log_rotation_type = size"),
    ("WSGI", "host"): _Rule("api", "host"),
    ("WSGI", "port"): _Rule("api", "port", _whole(0, 65_535)),
    ("WSGI", "threads"): _Rule("api", "threads", _whole(1, 256)),
    ("WSGI", "use_ssl"): _Rule(why="TLS is on where tls_cert_file is set"),
    ("WSGI", "ssl_ca_file"): _Rule(why="clients authenticate with tokens, not with certificates"),
    ("WSGI", "ssl_cert_file"): _Rule("api", "tls_cert_file"),
    ("WSGI", "ssl_key_file"): _Rule("api", "tls_key_file"),
    ("WSGI", "max_header_line"): _Rule("api", "header_bytes", _whole(1024, 1024**2)),
    ("WSGI", "retry_until_window"): _Rule(why="an address that is in use ends the start at once"),
    ("WSGI", "tcp_keepidle"): _Rule(why="idle connections are closed after [api] idle_s"),
    ("WSGI", "backlog"): _Rule(why="connections are bounded by [api] connections"),
    ("Authorization", "plugin"): _Rule(
        "api", "auth_strategy", lambda _: "keystone",
        "Keystone authenticates callers of a real cloud",
    ),
    ("Authorization", "policy_file"): _Rule(
        why="rules have other names: see etc/synergy/policy.yaml.sample and [oslo_policy]"
    ),
    ("SchedulerManager", "backfill_depth"): _Rule("scheduler", "backfill_depth",
                                                  _whole(0, 1_000_000)),
    ("FairShareManager", "periods"): _Rule("fairshare", "periods", _whole(1, 1000)),
    ("FairShareManager", "period_length"): _Rule("fairshare", "period_length_s",
                                                 _whole(1, 366 * 86_400, 86_400), "days before"),
    ("FairShareManager", "decay_weight"): _Rule("fairshare", "decay_weight", _fraction),
    ("FairShareManager", "default_share"): _Rule(
        why="users begin with one share each, which divides a project alike"
    ),
    ("FairShareManager", "age_weight"): _Rule(
        why="priorities follow Slurm's formula: see [scheduler] weight_age and max_age_s"
    ),
    ("FairShareManager", "vcpus_weight"): _Rule(
        why="what a resource class costs is [fairshare] tres_billing_weights"
    ),
    ("FairShareManager", "memory_weight"): _Rule(
        why="what a resource class costs is [fairshare] tres_billing_weights"
    ),
    **{
        ("KeystoneManager", name): _Rule("openstack", name)
        for name in ("auth_url", "username", "password", "project_name", "project_id",
                     "user_domain_name", "project_domain_name", "timeout")
    },
    ("KeystoneManager", "clock_skew"): _Rule(why="keystoneauth renews tokens in time"),
    ("KeystoneManager", "ssl_ca_file"): _Rule("openstack", "cafile"),
    ("KeystoneManager", "ssl_cert_file"): _Rule("openstack", "certfile"),
    ("KeystoneManager", "amqp_url"): _Rule("openstack", "notifications_url"),
    ("KeystoneManager", "amqp_exchange"): _Rule("openstack", "keystone_exchange"),
    ("KeystoneManager", "amqp_topic"): _Rule("openstack", "keystone_topic"),
    ("NovaManager", "amqp_url"): _Rule("openstack", "core_url"),
    ("NovaManager", "amqp_exchange"): _Rule("openstack", "nova_exchange"),
    ("NovaManager", "notification_topic"): _Rule("openstack", "nova_topics"),
    **{
        ("NovaManager", name): _Rule(why=_PARTS)
        for name in ("amqp_backend", "amqp_hosts", "amqp_host", "amqp_port", "amqp_user",
                     "amqp_password", "amqp_virtual_host")
    },
    **{
        ("NovaManager", name): _Rule(why=_NO_TOPIC)
        for name in ("synergy_topic", "conductor_topic", "compute_topic", "scheduler_topic")
    },
    ("NovaManager", "db_connection"): _Rule(why="Nova's database is never read"),
    ("NovaManager", "cpu_allocation_ratio"): _Rule(why=_PLACEMENT),
    ("NovaManager", "ram_allocation_ratio"): _Rule(why=_PLACEMENT),
    ("NovaManager", "metadata_proxy_shared_secret"): _Rule(why="Nova's metadata are not read"),
    ("NovaManager", "host"): _Rule(why=_CATALOGUE),
    ("NovaManager", "timeout"): _Rule(why="[openstack] timeout counts for every service"),
    ("NovaManager", "ssl_ca_file"): _Rule(why=_TLS),
    ("NovaManager", "ssl_cert_file"): _Rule(why=_TLS),
    ("ProjectManager", "default_ttl"): _Rule(
        "project", "template_ttl_s", _whole(1, _LONGEST_TTL_S, 60),
        "minutes before; it counts for projects that [project] manage takes in",
    ),
    ("ProjectManager", "default_share"): _Rule(
        "project", "template_raw_shares", _shares,
        "it counts for projects that [project] manage takes in",
    ),
    **{
        (manager, name): _Rule(why=_OWN_DATABASE if name == "db_connection" else _POOL)
        for manager in ("QueueManager", "ProjectManager")
        for name in ("db_connection", "db_pool_size", "db_pool_recycle", "db_max_overflow")
    },
    **{(old, "autostart"): _Rule(new, "autostart", _flag) for old, new in _GROUPS.items()},
    **{(old, "rate"): _Rule(why=_RATE) for old in _GROUPS},
}  # fmt: skip


def read_old(path: Path) -> list[tuple[str, str, str, str]]:
    """Return (file, section, option, value) of every value of the files of 2.6.

    path  of synergy.conf; synergy_scheduler.conf is read from beside it, if it is there. Raises
          InvalidInput
    """
    files = [path, path.with_name("synergy_scheduler.conf")]
    found = []
    for file in files:
        if file != path and not file.exists():
            continue
        parser = RawConfigParser(strict=False, default_section="no such section")
        try:
            with file.open(encoding="utf-8") as lines:
                parser.read_file(lines)
        except (OSError, UnicodeDecodeError, ParserError) as error:
            why = " ".join(str(error).split())
            raise InvalidInput(f"{file} cannot be read as a configuration: {why}") from error
        found += [
            (file.name, section, option, value)
            for section in parser.sections()
            for option, value in parser.items(section)
        ]
    return found


def account(old: Iterable[tuple[str, str, str, str]]) -> list[Value]:
    """Return what becomes of each value, in their order; none is left out."""
    return [_account(*one) for one in old]


def _account(file: str, section: str, option: str, value: str) -> Value:
    secret = option in _SECRETS
    base: dict[str, Any] = {
        "file": file, "section": section, "option": option, "value": MASKED if secret else value,
    }  # fmt: skip
    rule = RULES.get((section, option))
    if rule is None:
        return Value(**base, fate=Fate.UNKNOWN, why="Synergy 2.6 has no such option")
    if not rule.option:
        return Value(**base, fate=Fate.GONE, why=rule.why)
    target = f"[{rule.section}] {rule.option}"
    try:
        new = rule.convert(value)
    except ValueError as error:
        return Value(**base, fate=Fate.WRONG, target=target, why=f"it is left out: {error}")
    same = rule.option == option and _GROUPS.get(section, section.lower()) == rule.section
    return Value(
        **base, fate=Fate.TAKEN if same else Fate.RENAMED, target=target, new_value=new,
        why=rule.why,
    )  # fmt: skip


def configuration(values: Sequence[Value]) -> str:
    """Return our configuration as text; what has to be written by hand is in comments."""
    sections: dict[str, dict[str, str]] = {"DEFAULT": {"cloud": "openstack"}}
    for one in values:
        if one.new_value:
            section, _, option = one.target[1:].partition("] ")
            sections.setdefault(section, {})[option] = one.new_value
    if any(name.startswith("max_logfile") for name in sections["DEFAULT"]):
        sections["DEFAULT"]["log_rotation_type"] = "size"
    fairshare = sections.get("fairshare", {})
    if fairshare.keys() & {"periods", "period_length_s", "decay_weight"}:
        fairshare["decay"] = "periods"
    openstack = sections.get("openstack", {})
    if openstack:
        openstack["auth_type"] = "password"
        sections["keystone_authtoken"] = {
            name: openstack[name]
            for name in ("auth_type", "auth_url", "username", "password", "project_name",
                         "user_domain_name", "project_domain_name", "cafile")
            if name in openstack
        }  # fmt: skip
    lines = ["# Made by synergy-manage migrate-from-2. To be written by hand: [openstack] edge_url"]
    lines += ["# the vhost of nova-api alone, and [database] connection and keys_file."]
    for section, options in sections.items():
        lines += ["", f"[{section}]", *(f"{name} = {new}" for name, new in options.items())]
    return "\n".join(lines) + "\n"


def read_database(url: str) -> tuple[list[OldProject], list[OldRequest]]:
    """Return the projects and the waiting requests of a database of 2.6, which is only read.

    url  of SQLAlchemy, or the path of a SQLite file. Raises InvalidInput
    """
    if "://" not in url:
        if not Path(url).is_file():
            raise InvalidInput(f"the database {url} does not exist")
        url = f"sqlite:///{Path(url).absolute()}"
    try:
        engine = create_engine(make_url(url))
        with engine.connect() as connection:
            tables = set(inspect(engine).get_table_names())
            if "project" not in tables and _QUEUE not in tables:
                raise InvalidInput(f"{make_url(url)!r} has no table of Synergy 2.6")

            def rows(table: str, statement: str) -> list[Any]:
                if table not in tables:
                    return []
                return list(connection.execute(text(statement)))

            quoted = engine.dialect.identifier_preparer.quote(_QUEUE)
            projects = rows("project", "SELECT id, name, share, TTL FROM project ORDER BY id")
            requests = rows(_QUEUE, _ROWS.format(quoted))
            return [_project(*row) for row in projects], fates_of(requests)
    except (SQLAlchemyError, ArgumentError, ImportError) as error:
        why = " ".join(str(error).split())[:300]
        raise InvalidInput(f"the database of 2.6 cannot be read: {why}") from error


def _project(project_id: Any, name: Any, share: Any, ttl_minutes: Any) -> OldProject:
    shares = max(0, int(share or 0))
    wished_s = int(ttl_minutes or 0) * 60
    ttl_s = min(max(wished_s, 60), _LONGEST_TTL_S)
    changed = f"a lifetime of {wished_s} s is not possible" if ttl_s != wished_s else ""
    return OldProject(
        project_id=str(project_id).strip(), name=str(name or ""), raw_shares=shares, ttl_s=ttl_s,
        why=changed,
    )  # fmt: skip


def commands_for(projects: Sequence[OldProject]) -> str:
    """Return a shell script that manages the projects as 2.6 did: private, unless a request says
    quota=shared."""
    lines = ["#!/bin/sh", "# Made by synergy-manage migrate-from-2. Can be run again.", "set -u"]
    for one in projects:
        name = " ".join(one.name.split())
        lines.append(f"# {ascii(name)[1:-1]}{': ' + one.why if one.why else ''}")
        lines.append(
            f"synergy project add {shlex.quote(one.project_id)} --raw-shares {one.raw_shares} "
            f"--ttl-s {one.ttl_s} --default-quota private --on-private-full reject"
        )
    return "\n".join(lines) + "\n"


def migrate(conf: cfg.ConfigOpts) -> None:
    """Make a configuration and the commands for projects from those of Synergy 2.6, and account for
    every value."""
    asked = conf.action
    values = account(read_old(Path(asked.old_config)))
    projects, requests = read_database(asked.old_database) if asked.old_database else ([], [])
    folder = Path(asked.output)
    files = {folder / CONFIGURATION: configuration(values)}
    if asked.old_database:
        files[folder / PROJECTS] = commands_for(projects)
        files[folder / WAITING] = table_of(requests)
    written = [] if asked.dry_run else _write(files, force=asked.force)
    if asked.format == "json":
        report = {
            "values": [_shown(one) for one in values],
            "projects": [asdict(one) for one in projects],
            "requests": [asdict(one) for one in requests],
            "written": [str(path) for path in written],
        }
        sys.stdout.write(f"{json.dumps(report, indent=2)}\n")
        return
    for line in _report(values, projects, requests):
        sys.stdout.write(f"{line}\n")
    for path in files:
        done = "wrote" if path in written else "unchanged"
        sys.stdout.write(f"{'would write' if asked.dry_run else done} {path}\n")


def _shown(one: Value) -> dict[str, Any]:
    return asdict(one) | ({"new_value": MASKED} if one.value == MASKED and one.new_value else {})


def _report(
    values: Sequence[Value], projects: Sequence[OldProject], requests: Sequence[OldRequest]
) -> Iterator[str]:
    for one in values:
        told = f"{one.fate:<8} [{one.section}] {one.option} = {one.value}"
        told += f" -> {one.target}" if one.target else ""
        yield f"{told} ({one.why})" if one.why else told
    for project in projects:
        yield f"project  {project.project_id} {project.name!a} {project.why}".rstrip()
    for request in requests:
        server = request.server_id or "unknown server"
        yield f"{request.fate:<10} row {request.row}, {server}: {request.why}"
    yield f"{len(values)} values: {_counts(Fate, [one.fate for one in values])}"
    rows = len({one.row for one in requests})
    counts = _counts(RequestFate, [one.fate for one in requests])
    yield f"{len(projects)} projects; {rows} rows with {len(requests)} servers that wait: {counts}"


def _counts(words: Iterable[StrEnum], found: Sequence[StrEnum]) -> str:
    return ", ".join(f"{found.count(word)} {word}" for word in words)


def _write(files: Mapping[Path, str], *, force: bool) -> list[Path]:
    """Write what differs, readable by its owner only, and return its paths.

    Raises Conflict, InvalidInput.
    """
    try:
        changed = {
            path: new for path, new in files.items() if not path.exists() or path.read_text() != new
        }
        for path in changed:
            if path.exists() and not force:
                raise Conflict(f"{path} exists and differs: move it away, or use --force")
        for path, new in changed.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o700 if path.suffix == ".sh" else 0o600)
            path.write_text(new)
    except OSError as error:
        raise InvalidInput(f"{error.filename} cannot be written: {error.strerror}") from error
    return list(changed)


def add_action(subparsers: Any) -> None:
    """Add the action to synergy-manage."""
    parser = subparsers.add_parser("migrate-from-2", help=migrate.__doc__)
    parser.set_defaults(run=migrate)
    parser.add_argument(
        "old_config", metavar="CONFIG",
        help="synergy.conf of Synergy 2.6; synergy_scheduler.conf is read from beside it.",
    )  # fmt: skip
    parser.add_argument(
        "old_database", metavar="DATABASE", nargs="?",
        help="URL of its database, or the path of a SQLite file; it is only read.",
    )  # fmt: skip
    parser.add_argument("--output", default=".", help="Folder of the new files. Default: this one.")
    parser.add_argument("--dry-run", action="store_true", help="Only report, and write nothing.")
    parser.add_argument("--force", action="store_true", help="Overwrite files that differ.")
    parser.add_argument("-f", "--format", choices=["text", "json"], default="text")
