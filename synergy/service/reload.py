"""Reloads the configuration while the service runs, and logs what changed.

Why: a wrong file must not affect a running service. So it is first read into a separate
configuration and checked as at start. Only then do all mutable options take their new values, and
options that need a restart are logged. Must not know who reads options.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from oslo_config import cfg

from synergy.core.errors import ConfigurationInvalid
from synergy.service.options import LIBRARY_GROUPS, groups, new_conf, problems_of, sections_of

LOG = logging.getLogger(__name__)
MASKED: Final = "***"


@dataclass(frozen=True, slots=True)
class Change:
    """An option whose value in the file differs from the one in use; secrets are masked."""

    group: str
    option: str
    old: str
    new: str
    mutable: bool


class Reloader:
    """Reads the files of a configuration again, each time it is called."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        argv: Sequence[str],
        read: Callable[[cfg.ConfigOpts, Sequence[str]], None],
    ) -> None:
        """argv  what the configuration was read with
        read  reads files and arguments, and raises ConfigurationInvalid
        """
        self._conf, self._argv, self._read = conf, argv, read
        self._library_options = _library_options(conf)  # libraries read their options only once

    def __call__(self) -> list[Change]:
        """Apply changes of mutable options, log all changes, and return them.

        Raises nothing: a wrong file changes nothing, and is logged as one error.
        """
        fresh = new_conf()
        try:
            self._read(fresh, self._argv)
            problems = problems_of(fresh)
            if problems:
                raise ConfigurationInvalid(problems)
            changes = [*_changes(self._conf, fresh), *self._library_changes(fresh)]
            self._conf.mutate_config_files()
        except (ConfigurationInvalid, cfg.Error, OSError, ValueError) as error:
            changes, wrong = [], str(error)
        else:
            wrong = ""
        if wrong:
            LOG.error("the configuration is not reloaded, because the new one is wrong: %s", wrong)
            return []
        # A thread that read an option during the reload may have put its old value into
        # oslo.config's cache. clear_override drops the whole cache; there is no override to clear.
        self._conf.clear_override("managers")
        _log_changes(changes)
        return changes

    def _library_changes(self, fresh: cfg.ConfigOpts) -> Iterator[Change]:
        before, after = self._library_options, _library_options(fresh)
        for group, option in sorted({*before, *after}):
            if before.get((group, option)) != after.get((group, option)):
                yield Change(group, option, MASKED, MASKED, mutable=False)


def _log_changes(changes: Sequence[Change]) -> None:
    for one in changes:
        if one.mutable:
            LOG.info("[%s] %s changed from %s to %s", one.group, one.option, one.old, one.new)
        else:
            LOG.warning(
                "[%s] %s is %s in the file, and stays %s until the service is restarted",
                one.group, one.option, one.new, one.old,
            )  # fmt: skip
    if not changes:
        LOG.info("the configuration was reloaded; nothing changed")


def _changes(conf: cfg.ConfigOpts, fresh: cfg.ConfigOpts) -> Iterator[Change]:
    for group, options in groups().items():
        for option in options:
            old, new = (_value(one, group, option.dest) for one in (conf, fresh))
            if old != new:
                shown = (MASKED, MASKED) if option.secret else (str(old), str(new))
                yield Change(group, option.name, *shown, mutable=bool(option.mutable))


def _value(conf: cfg.ConfigOpts, group: str, name: str) -> object:
    return conf[name] if group == "DEFAULT" else conf[group][name]


def _library_options(conf: cfg.ConfigOpts) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for _, sections in sections_of(conf):
        for group in LIBRARY_GROUPS:
            found |= {(group, name): value for name, value in sections.get(group, {}).items()}
    return found
