"""Guru meditation reports: what every thread does, the options and the managers, at a signal.

Why: anyone who looks into a service that hangs must not have to stop it first. The signal and the
options are those of the other services. Secrets are masked. Must not wait for a manager.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from oslo_config import cfg
from oslo_reports import guru_meditation_report, opts
from oslo_reports.generators.conf import ConfigReportGenerator
from oslo_reports.models.with_default_views import ModelWithDefaultViews

from synergy.packages import version

PROGRAM = "synergy-service"


class _Version:
    """The version, as oslo.reports asks for it."""

    def vendor_string(self) -> str:
        return "The Synergy developers"

    def product_string(self) -> str:
        return "Synergy"

    def version_string_with_package(self) -> str:
        return version()


def set_up(conf: cfg.ConfigOpts, health: Callable[[], Mapping[str, Any]]) -> None:
    """Write a report at SIGUSR2, or when the file of [oslo_reports] file_event_handler is touched.

    It goes to standard error, or into [oslo_reports] log_dir. Call it on the main thread.
    health  returns without waiting what to show of the managers
    """
    opts.set_defaults(conf)

    class Report(guru_meditation_report.TextGuruMeditation):
        """A report of this service: the sections are kept on the class."""

        persistent_sections: ClassVar[list[tuple[str, Callable[[], Any]]]] = [
            ("Health", lambda: ModelWithDefaultViews(data=dict(health()))),
            ("Options", ConfigReportGenerator(conf)),
        ]

    Report.setup_autorun(_Version(), PROGRAM, conf=conf)
