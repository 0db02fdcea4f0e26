from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from oslo_config import cfg

from synergy.core.model import Resources
from synergy.managers.base import register_options
from synergy.managers.fairshare import FairShareManager
from synergy.managers.fairshare.charging import Tariff, rate_of, read_tariff, spans_of
from synergy.ports import Hold
from tests.builders import NOON


def tariff(**options: Any) -> Tariff:
    conf = cfg.ConfigOpts()
    register_options(conf, "fairshare", FairShareManager)
    conf(args=[], default_config_files=[], default_config_dirs=[])
    for name, value in options.items():
        conf.set_override(name, value, group="fairshare")
    return read_tariff(conf.fairshare)


def ago(seconds: int) -> datetime:
    return NOON - timedelta(seconds=seconds)


HOLD = Hold(association_id=3, demand=Resources.of(VCPU=2), qos="normal", host="h",
            held_from=ago(50), released_at=None, count=4)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (50, 0)),
        ({"held_from": ago(500)}, (100, 0)),
        ({"released_at": ago(20)}, (50, 20)),
        ({"held_from": ago(500), "released_at": ago(100)}, None),
        ({"held_from": ago(500), "released_at": ago(300)}, None),
        # Records from before the clock was set back lie ahead of now.
        ({"held_from": ago(-900)}, (100, 0)),
        ({"held_from": ago(500), "released_at": ago(-900)}, None),
        ({"held_from": ago(-900), "released_at": ago(-950)}, None),
    ],
    ids=["since the last pass", "before it", "ended", "ended at it", "ended before it",
         "clock set back", "ended, clock set back", "all of it, clock set back"],
)  # fmt: skip
def test_a_hold_is_charged_for_what_lies_after_the_last_pass(
    changes: dict[str, Any], expected: tuple[int, int] | None
) -> None:
    spans = spans_of([replace(HOLD, **changes)], tariff(), since=ago(100), now=NOON)
    found = [*zip(spans.begin_ago_s, spans.end_ago_s, strict=True)]
    assert found == ([] if expected is None else [expected])
    assert spans.rate.tolist() == [8.0] * len(found)
    assert spans.association.tolist() == [3] * len(found)


def test_the_price_is_of_resources_qos_and_host() -> None:
    rates = tariff(
        tres_billing_weights={"VCPU": 3.0}, qos_usage_factors={"normal": 0.5},
        host_factors={"h": 1.5, "other": 9.0},
    )  # fmt: skip
    assert rate_of(HOLD, rates) == 2 * 3 * 0.5 * 1.5
    assert rate_of(replace(HOLD, host=None, qos="urgent"), rates) == 6
