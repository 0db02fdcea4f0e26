"""Every metric, declared once: exposition, the page of metrics, alerts and board follow from it.

Must not know how a value is found.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MetricKind(StrEnum):
    """How Prometheus treats the values of a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


_SUFFIXES: Final = {
    MetricKind.GAUGE: ("",),
    MetricKind.COUNTER: ("_total",),
    MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count"),
}


@dataclass(frozen=True, slots=True)
class DeclaredMetric:
    """A metric: its name without the suffix of its kind, and what its labels tell apart."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()

    def series(self) -> tuple[str, ...]:
        """Return the names that Prometheus stores."""
        return tuple(f"{self.name}{suffix}" for suffix in _SUFFIXES[self.kind])


_GAUGE, _COUNTER, _HISTOGRAM = MetricKind.GAUGE, MetricKind.COUNTER, MetricKind.HISTOGRAM
API_REQUESTS: Final = DeclaredMetric(
    "synergy_api_requests", _COUNTER, "Requests that the API answered.", ("operation", "status")
)
API_DURATION: Final = DeclaredMetric(
    "synergy_api_request_duration_seconds",
    _HISTOGRAM,
    "How long the API took to answer.",
    ("operation",),
)
MANAGER_STATUS: Final = DeclaredMetric(
    "synergy_manager_status", _GAUGE, "1 for the status a manager is in.", ("manager", "status")
)
MANAGER_RUNS: Final = DeclaredMetric(
    "synergy_manager_runs", _COUNTER, "Runs of a manager.", ("manager",)
)
MANAGER_FAILURES: Final = DeclaredMetric(
    "synergy_manager_failures", _COUNTER, "Failed runs of a manager.", ("manager",)
)
MANAGER_LAG: Final = DeclaredMetric(
    "synergy_manager_lag_seconds", _GAUGE, "How late a run of a manager is.", ("manager",)
)
REQUESTS: Final = DeclaredMetric("synergy_requests", _GAUGE, "Requests by state.", ("state",))
WAITING: Final = DeclaredMetric(
    "synergy_waiting", _GAUGE, "Queued requests by the reason why they wait.", ("reason",)
)
ROUNDS: Final = DeclaredMetric("synergy_scheduler_rounds", _COUNTER, "Rounds of the scheduler.")
DISPATCHED: Final = DeclaredMetric(
    "synergy_scheduler_dispatched", _COUNTER, "Requests that left the queue to be built."
)
CONFLICTS: Final = DeclaredMetric(
    "synergy_scheduler_conflicts",
    _COUNTER,
    "Dispatches that were given up because something changed in the meantime.",
)
QUOTA: Final = DeclaredMetric(
    "synergy_quota",
    _GAUGE,
    "Capacity (total), the shared quota and what of it is used, free and lent, and by how much "
    "the quotas exceed the capacity (shortfall).",
    ("kind", "resource_class"),
)
EXPIRY_SUSPENDED: Final = DeclaredMetric(
    "synergy_expiry_suspended", _GAUGE, "1 while no server is ended, by the reason.", ("reason",)
)
RULE_SUSPENDED: Final = DeclaredMetric(
    "synergy_project_rule_suspended",
    _GAUGE,
    "1 while no project leaves by the rule of managed projects until an operator has checked them.",
)
EXPIRY_DUE: Final = DeclaredMetric(
    "synergy_expiry_due", _GAUGE, "Servers whose lifetime is over and that are not being ended."
)
EXPIRY_EXPIRING: Final = DeclaredMetric(
    "synergy_expiry_expiring", _GAUGE, "Servers that are being ended."
)
EXPIRY_REFUSED: Final = DeclaredMetric(
    "synergy_expiry_refused", _GAUGE, "Servers that Nova refuses to end."
)
CLOCK_OFF: Final = DeclaredMetric(
    "synergy_clock_off_seconds",
    _GAUGE,
    "By how much the wall clock is ahead of the time that Synergy uses.",
)
LOST_BUILDS: Final = DeclaredMetric(
    "synergy_lost_builds", _GAUGE, "Requests that the conductor received and that make no progress."
)
QUARANTINED: Final = DeclaredMetric("synergy_quarantined", _GAUGE, "Quarantined messages.")
QUARANTINE_MAX: Final = DeclaredMetric(
    "synergy_quarantine_max",
    _GAUGE,
    "Maximum number of quarantined messages; older ones are removed with an error.",
)
DAMAGED_ROWS: Final = DeclaredMetric(
    "synergy_damaged_rows",
    _GAUGE,
    "Rows that could not be read since the start, and are skipped.",
    ("table",),
)
FORECASTS_RESOLVED: Final = DeclaredMetric(
    "synergy_forecasts_resolved",
    _GAUGE,
    "Number of the latest forecasts of starts that are scored.",
)
FORECAST_COVERAGE: Final = DeclaredMetric(
    "synergy_forecast_coverage_ratio",
    _GAUGE,
    "Part of the scored requests that started by the time that was forecast, by method (the "
    "forecast, and its baselines lifetimes_run_out and past_waits) and level in percent, which it "
    "should equal.",
    ("method", "level"),
)
FORECAST_PINBALL: Final = DeclaredMetric(
    "synergy_forecast_pinball_seconds",
    _GAUGE,
    "Mean pinball loss of the forecasts of the scored requests, by method and level in percent; "
    "less is better.",
    ("method", "level"),
)
NOTIFICATIONS_WAITING: Final = DeclaredMetric(
    "synergy_notifications_waiting", _GAUGE, "Entries of the ledger that are not sent yet."
)
NOTIFICATIONS_LAG: Final = DeclaredMetric(
    "synergy_notifications_lag_seconds", _GAUGE, "Age of the oldest entry that is not sent yet."
)
NOTIFICATIONS_SENT: Final = DeclaredMetric(
    "synergy_notifications_sent", _COUNTER, "Notifications that were sent."
)
NOTIFICATIONS_DROPPED: Final = DeclaredMetric(
    "synergy_notifications_dropped", _COUNTER, "Notifications that were dropped."
)
NOTIFICATIONS_NOT_POSTED: Final = DeclaredMetric(
    "synergy_notifications_not_posted", _COUNTER, "Notifications that the webhook did not take."
)
METRICS: Final = tuple(one for one in list(vars().values()) if isinstance(one, DeclaredMetric))
