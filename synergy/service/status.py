"""The entry point of synergy-status: is everything ready for this version of Synergy?

Why: deployment tools run `synergy-status upgrade check` between the installation of a new version
and its start, as they do for the other services, and read its exit code. So every check runs,
whatever the others find, and nothing is changed. Must not start or stop anything.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from oslo_config import cfg
from oslo_policy import policy
from oslo_upgradecheck import upgradecheck
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from synergy.api.policies import list_rules
from synergy.core.errors import ConfigurationInvalid, SynergyError
from synergy.db import engine as database
from synergy.db.leadership import holder_of
from synergy.drivers.clock import SystemClock
from synergy.service.logs import PROJECT
from synergy.service.main import (
    check_keys,
    check_seals,
    opened_database,
    print_problems,
    reading_errors,
)
from synergy.service.options import (
    CLOUD_NAMESPACE,
    FACTOR_NAMESPACE,
    MANAGER_NAMESPACE,
    groups,
    installed,
    library_groups,
    new_conf,
    problems_of,
    sections_of,
)

Code = upgradecheck.Code
Result = upgradecheck.Result
OWN_RULES: Final = "synergy:"
UNEXPECTED: Final = 255


def _result(problems: Sequence[str], *, fine: str, code: Code = Code.FAILURE) -> Result:
    """Return success with `fine`, or `code` with the problems."""
    return Result(code, "; ".join(problems)) if problems else Result(Code.SUCCESS, fine)


def plugin_problems() -> list[str]:
    """Return why installed plugins cannot be loaded."""
    namespaces = (MANAGER_NAMESPACE, CLOUD_NAMESPACE, FACTOR_NAMESPACE)
    return [problem for namespace in namespaces for problem in installed(namespace)[1]]


def stale_names(conf: cfg.ConfigOpts) -> list[str]:
    """Return the options of the files that are deprecated, or that no library knows.

    Unknown names in Synergy's own sections are errors, which `problems_of` lists.
    """
    own = groups()
    found: list[str] = []
    for path, sections in sections_of(conf):
        auth_type = (sections.get("keystone_authtoken", {}).get("auth_type") or ["password"])[0]
        of_libraries = library_groups(auth_type)
        for group, values in sections.items():
            options = [*own.get(group, ()), *of_libraries.get(group, ())]
            found += _stale(path, group, list(values), options, judged=group in of_libraries)
    return found


def _stale(
    path: str, group: str, names: Sequence[str], options: Sequence[cfg.Opt], *, judged: bool
) -> Iterator[str]:
    """judged  say what is unknown, too"""
    current = {_plain(option.name): option for option in options}
    former = {_plain(str(old.name)): option for option in options for old in option.deprecated_opts}
    for name in map(_plain, names):
        if name in current:
            if current[name].deprecated_for_removal:
                why = current[name].deprecated_reason or "it will be removed"
                yield f"{path}: [{group}] {name} is deprecated: {why}"
        elif name in former:
            yield f"{path}: [{group}] {name} is deprecated: its name is {former[name].name}"
        elif judged:
            yield f"{path}: [{group}] has no option {name!r}"


def _plain(name: str) -> str:
    return name.replace("-", "_")


def policy_problems(conf: cfg.ConfigOpts) -> list[str]:
    """Return what is wrong with the operator's policy files."""
    policy.Enforcer(conf)  # registers its options
    named: list[str] = [conf.oslo_policy.policy_file]
    for folder in conf.oslo_policy.policy_dirs or ():
        place = conf.find_file(folder)
        named += sorted(map(str, Path(place).glob("*.*"))) if place else []
    known = {rule.name for rule in list_rules()}
    found = []
    for name in named:
        path = conf.find_file(name)
        if path:
            found += _policy_file_problems(Path(path), known)
    return found


def _policy_file_problems(path: Path, known: set[str]) -> list[str]:
    try:
        text = path.read_text()
        rules: object = policy.parse_file_contents(text)
    except (OSError, ValueError) as error:
        return [f"policy file {path} cannot be read: {' '.join(str(error).split())}"]
    if not isinstance(rules, Mapping):
        return [f"policy file {path} is not a table of rules"]
    found: list[str] = []
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        found.append(
            f"policy file {path} is JSON, which is deprecated: "
            "oslopolicy-convert-json-to-yaml --namespace synergy makes YAML of it"
        )
    gone = [name for name in map(str, rules) if name.startswith(OWN_RULES) and name not in known]
    found += [f"policy file {path}: there is no rule {name!r}; remove it" for name in gone]
    return found


def driver_problems(connection: str) -> list[str]:
    """Return which Python package the URL of the database needs and that is not installed."""
    try:
        url = make_url(connection)
        url.get_dialect().import_dbapi()
    except ArgumentError:
        return ["[database] connection is not a database URL such as sqlite:///synergy.sqlite"]
    except NoSuchModuleError as error:
        return [f"[database] connection: {error}"]
    except ImportError as error:
        return [database.missing_driver(url, error)]
    return []


class Checks(upgradecheck.UpgradeCommands):
    """The checks of `synergy-status upgrade check`, in the order in which they are printed."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._upgrade_checks = tuple(
            (title, _guarded(check))
            for title, check in (
                ("Plugins", Checks.plugins),
                ("Configuration", Checks.configuration),
                ("Names in the configuration", Checks.names),
                ("Policy", Checks.policy_files),
                ("Database driver", Checks.database_driver),
                ("Database", Checks.database_revision),
                ("Keys", Checks.keys),
                ("Running service", Checks.running_service),
            )
        )

    def plugins(self) -> Result:
        """Load every manager, cloud and priority factor that is installed."""
        return _result(plugin_problems(), fine="all of them can be loaded")

    def configuration(self) -> Result:
        """Check names and values as the service does when it starts."""
        return _result(problems_of(self._conf), fine="complete and valid")

    def names(self) -> Result:
        """Look for deprecated options, and for unknown ones in the sections of libraries."""
        return _result(
            stale_names(self._conf), fine="none is deprecated or unknown", code=Code.WARNING
        )

    def policy_files(self) -> Result:
        """Look for policy files in JSON, and for rules that this version does not have."""
        return _result(policy_problems(self._conf), fine="all rules are known", code=Code.WARNING)

    def database_driver(self) -> Result:
        """Import the Python package that the URL of the database needs."""
        return _result(driver_problems(self._conf.database.connection), fine="installed")

    def database_revision(self) -> Result:
        """Compare the revision of the tables with the one that this version needs."""
        with opened_database(self._conf) as engine:
            return Result(Code.SUCCESS, f"revision {database.check(engine)}")

    def keys(self) -> Result:
        """Read the key file, and try it on a stored message."""
        check_keys(self._conf)
        check_seals(self._conf)
        return Result(Code.SUCCESS, "readable")

    def running_service(self) -> Result:
        """Look whether a service works on the database: an upgrade has to wait for its end."""
        try:
            with opened_database(self._conf) as engine:
                database.check(engine, may_upgrade=True)
                holder = holder_of(engine, SystemClock())
        except SynergyError:
            return Result(Code.SUCCESS, "none that could be found: see Database")
        running = [f"{holder}: stop it before synergy-manage db upgrade"] if holder else []
        return _result(running, fine="none", code=Code.WARNING)


def _guarded(check: Callable[[Checks], Result]) -> Callable[[Checks], Result]:
    """Let a check that cannot be made be a failed one, and the next ones run."""

    def guarded(checks: Checks) -> Result:
        try:
            return check(checks)
        except ConfigurationInvalid as error:
            return _result(error.problems, fine="")
        except (SynergyError, ValueError, cfg.ConfigFileValueError) as error:
            return _result([str(error)], fine="")

    return guarded


def run(argv: Sequence[str]) -> int:
    """Run a command, and return the exit code: 0, 1 on a warning, 2 on a failure, else 255."""
    conf = new_conf(tolerant=True)
    try:
        with reading_errors():
            return int(upgradecheck.main(conf, PROJECT, Checks(conf), list(argv)))
    except ConfigurationInvalid as error:
        print_problems(error)
        return UNEXPECTED
    except SystemExit as leaving:  # argparse ends with 2, which here means a failed check
        return UNEXPECTED if leaving.code else 0


def main() -> None:
    """Run synergy-status."""
    sys.exit(run(sys.argv[1:]))
