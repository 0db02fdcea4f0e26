"""Usage by hour and day is exactly what the servers held, however they lived."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from synergy.core.errors import Conflict
from synergy.core.lifecycle import Event, transition
from synergy.core.model import QuotaKind
from synergy.core.rollup import Level
from synergy.core.usage import HalfLife, ResetPeriod
from synergy.db.store import SqlStore
from synergy.managers.fairshare import rollups
from synergy.managers.fairshare.charging import Tariff
from synergy.managers.fairshare.reports import SettledUsage, usage_report
from synergy.ports import Series
from synergy.sim.engine import temporary_store
from tests.builders import NOON, kind, request
from tests.unit.db.histories import Claim, Histories

HOSTS, QOS = {"h1": 1.0, "h2": 1.5}, {"urgent": 2.0}
TARIFF = Tariff(
    fading=HalfLife(half_life_s=0, slice_s=60), weights={"VCPU": 1.0}, max_tres=False, qos=QOS,
    hosts=HOSTS, reset=ResetPeriod.NONE, zone=UTC,
)  # fmt: skip
GROUPS = ("project", "user", "quota")
Key = tuple[str, str | None, str | None, str | None]  # begin, project, user, quota
Rows = dict[Key, tuple[int, float, float]]  # servers, hours of VCPU, billed hours


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with temporary_store() as made:
        yield made


def catch_up(store: SqlStore, now: datetime) -> None:
    steps = 0
    while rollups.advance(store, TARIFF, now):
        steps += 1
        assert steps < 10_000


def report(
    store: SqlStore,
    begin: datetime,
    end: datetime,
    *,
    period: str = "none",
    group_by: tuple[str, ...] = GROUPS,
    project_id: str | None = None,
    tariff: Tariff = TARIFF,
    settled: SettledUsage | None = None,
) -> Rows:
    found = usage_report(
        store, tariff, begin=begin, end=end, group_by=group_by, period=period,
        project_id=project_id, promised=None, settled=settled,
    )["usage"]  # fmt: skip
    return {
        (row["begin"], row["project_id"], row["user_id"], row["quota"]): (
            row["servers"], round(row["resource_hours"].get("VCPU", 0), 5),
            round(row["billed_hours"], 5),
        )
        for row in found
    }  # fmt: skip


def exact(
    held: Sequence[Claim],
    begin: datetime,
    end: datetime,
    group_by: Sequence[str] = GROUPS,
    project_id: str | None = None,
) -> Rows:
    """Sum over the spans: the report without periods, by definition."""
    sums: Any = defaultdict(lambda: [0, 0.0, 0.0])
    for one in held:
        overlaps = one.begin < end and (one.end is None or one.end > begin)
        if not overlaps or project_id not in (None, one.project_id):
            continue
        key = (
            begin.isoformat(),
            one.project_id if "project" in group_by else None,
            one.user_id if "user" in group_by else None,
            one.kind.quota.value if "quota" in group_by else None,
        )
        hours, vcpus = one.hours(begin, end), one.kind.demand["VCPU"]
        sums[key][0] += 1
        sums[key][1] += vcpus * hours
        sums[key][2] += vcpus * hours * HOSTS[one.host] * QOS.get(one.kind.qos, 1.0)
    return {key: (n, round(h, 5), round(b, 5)) for key, (n, h, b) in sums.items()}


def agree(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    """Compare up to the rounding of the report."""
    assert set(found) == set(expected)
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=2e-5), key


@pytest.mark.parametrize("seed", range(4))
def test_a_report_is_the_sum_over_the_spans_whatever_is_summed_up(
    store: SqlStore, seed: int
) -> None:
    rng, end = random.Random(seed), NOON + timedelta(days=6)
    histories = Histories(store, seed)
    for _ in range(12):
        histories.live(NOON, end)
    for until in (None, NOON + timedelta(days=2, hours=5), end):
        if until is not None:
            catch_up(store, until)
        for _ in range(6):
            begin, stop = sorted(NOON + (end - NOON) * rng.random() for _ in range(2))
            for groups in (GROUPS, ("project",), ("quota",)):
                project = rng.choice([None, "p"])
                agree(
                    report(store, begin, stop, group_by=groups, project_id=project),
                    exact(histories.claims, begin, stop, groups, project),
                )
    with store.reading() as uow:
        assert uow.rollups.progress().rolled_until == end.replace(hour=11)


@pytest.mark.parametrize("period", ["hour", "day", "week", "month"])
def test_the_periods_of_a_report_add_up_to_the_whole(store: SqlStore, period: str) -> None:
    histories, end = Histories(store, 5), NOON + timedelta(days=9, minutes=7)
    for _ in range(15):
        histories.live(NOON, end)
    catch_up(store, end)
    begin, stop = NOON + timedelta(minutes=17), end - timedelta(seconds=11)
    found = usage_report(
        store, TARIFF, begin=begin, end=stop, group_by=["project"], period=period,
        project_id=None, promised=None,
    )["usage"]  # fmt: skip
    hours: dict[Any, float] = defaultdict(float)
    for row in found:
        hours[row["project_id"]] += row["resource_hours"].get("VCPU", 0)
    whole = exact(histories.claims, begin, stop, ("project",))
    assert dict(hours) == pytest.approx({key[1]: h for key, (_, h, _) in whole.items()}, abs=1e-3)


def test_lines_without_projects_are_the_sums_of_those_of_each_project(store: SqlStore) -> None:
    histories, end = Histories(store, 6), NOON + timedelta(days=9)
    for _ in range(30):
        histories.live(NOON, end)
    catch_up(store, end)
    asked = Level.DAYS, NOON.replace(hour=0), end.replace(hour=0)
    sums: dict[tuple[Series, datetime], list[float]] = defaultdict(lambda: [0, 0, 0, 0.0])
    lines: dict[tuple[Series, datetime], list[Any]] = {}
    with store.reading() as uow:
        for line in uow.rollups.lines(*asked):
            key = replace(line.series, project_id="", association_id=0), line.begins_at
            amounts = line.running, line.started, line.held_us, line.weighted_us
            sums[key] = [sum(pair) for pair in zip(sums[key], amounts, strict=True)]
        each, together = uow.rollups.lines(*asked), uow.rollups.lines(*asked, by_project=False)
    for line in together:
        assert (line.series, line.begins_at) not in lines
        lines[line.series, line.begins_at] = [
            line.running, line.started, line.held_us, pytest.approx(line.weighted_us),
        ]  # fmt: skip
    assert dict(sums) == lines
    assert len(together) < len(each)


def by_day(held: Sequence[Claim], begin: datetime, end: datetime) -> Rows:
    """The report by day, by definition."""
    found: Rows = {}
    at = begin
    while at < end:
        until = min(end, at.replace(hour=0) + timedelta(days=1))
        found |= exact(held, at, until)
        at = until
    return found


def test_days_that_are_remembered_are_those_of_the_sums_as_they_are_now(store: SqlStore) -> None:
    histories, end, settled = Histories(store, 9), NOON + timedelta(days=6), SettledUsage()
    for late in range(4):
        for _ in range(6):
            histories.live(NOON, end, open_ratio=0)
        catch_up(store, end + timedelta(minutes=late))
        catch_up(store, end + timedelta(minutes=late))
        for _ in range(2):
            found = report(store, NOON, end, period="day", settled=settled)
            agree(found, by_day(histories.claims, NOON, end))


def test_days_that_are_remembered_follow_a_new_tariff_and_sums_that_were_made_anew(
    store: SqlStore,
) -> None:
    histories, end, settled = Histories(store, 10), NOON + timedelta(days=4), SettledUsage()
    for _ in range(12):
        histories.live(NOON, end, open_ratio=0)
    catch_up(store, end)
    asked: dict[str, Any] = {"period": "day", "settled": settled}
    first = report(store, NOON, end, **asked)
    dear = replace(TARIFF, qos={"urgent": 4.0})
    assert report(store, NOON, end, **asked, tariff=dear) == report(
        store, NOON, end, period="day", tariff=dear
    )
    with store.writing() as uow:  # as `db rebuild-usage` does after other host factors
        before = uow.rollups.progress()
        again = replace(before, rolled_until=None, hours_from=None, edition=before.edition + 1)
        uow.rollups.save_progress(before, again)
        uow.commit()
    moved = replace(TARIFF, hosts={"h1": 5.0})
    while rollups.advance(store, moved, end):
        pass
    found = report(store, NOON, end, **asked, tariff=moved)
    assert found == report(store, NOON, end, period="day", tariff=moved) != first


def test_no_more_rows_are_remembered_than_there_may_be(store: SqlStore) -> None:
    histories, end = Histories(store, 11), NOON + timedelta(days=5)
    for _ in range(12):
        histories.live(NOON, end, open_ratio=0)
    catch_up(store, end)
    settled = SettledUsage(max_rows=10)
    for day in range(4):
        for project_id in (None, "p", "q"):
            begin = NOON + timedelta(days=day)
            assert report(
                store, begin, end, period="day", project_id=project_id, settled=settled
            ) == report(store, begin, end, period="day", project_id=project_id)
            assert settled._held == sum(len(rows) for _, rows in settled._known.values()) <= 10


class Watching:
    """A store that calls somebody after each commit."""

    def __init__(self, store: SqlStore, look: Callable[..., Any]) -> None:
        self._store, self._look = store, look
        self.reading, self.damaged = store.reading, store.damaged

    @contextmanager
    def writing(self) -> Iterator[Any]:
        with self._store.writing() as uow:
            yield uow
        self._look()


def test_no_report_is_of_half_an_hour_while_it_is_summed_up_anew(store: SqlStore) -> None:
    """More users than one transaction writes sums of."""
    users = [f"u{number}" for number in range(rollups.ROWS_AT_ONCE + 5)]
    end = NOON + timedelta(hours=3)

    def lived(numbers: list[int] | range) -> None:
        with store.writing() as uow:
            held = [
                request(
                    number, project_id="p", user_id=users[number], queued_at=NOON, changed_at=NOON,
                    request_class=kind(association=number + 1), generation=0,
                    class_id=uow.requests.class_id(kind(association=number + 1)),
                )
                for number in numbers
            ]  # fmt: skip
            uow.requests.add([(transition(one, Event.ADMITTED, NOON), b"") for one in held])
            found = list(uow.requests.find([one.request_id for one in held]).values())
            for event, hours in (
                (Event.SELECTED, 0), (Event.HANDED_OVER, 0), (Event.BOOTED, 0), (Event.REMOVED, 1),
            ):  # fmt: skip
                moves = [transition(one, event, NOON + timedelta(hours=hours)) for one in found]
                uow.requests.save(moves)
                found = [move.as_saved() for move in moves]
            uow.commit()

    def hours() -> int:
        found = report(store, NOON, NOON + timedelta(hours=1))
        return round(sum(values[1] for values in found.values()))

    with store.writing() as uow:
        for user in users:
            uow.projects.association("p", user, user)
        uow.commit()
    lived(range(1, len(users)))
    catch_up(store, end)
    lived([0])
    seen: list[Any] = []
    watched = Watching(store, lambda: seen.append(hours()))
    while rollups.advance(watched, TARIFF, end + timedelta(minutes=5)):
        pass
    assert len(seen) > 3
    assert set(seen) <= {len(users) - 1, len(users)}
    assert seen[-1] == len(users)


def test_what_is_told_late_is_in_the_report_although_its_hours_were_summed_up(
    store: SqlStore,
) -> None:
    histories, end = Histories(store, 2), NOON + timedelta(days=3)
    for _ in range(5):
        histories.live(NOON, end)
    catch_up(store, end)
    catch_up(store, end)
    for _ in range(5):
        histories.live(NOON + timedelta(days=1), end - timedelta(days=1), open_ratio=0)
    catch_up(store, end + timedelta(minutes=2))
    agree(report(store, NOON, end), exact(histories.claims, NOON, end))


def test_a_clock_that_was_ahead_for_a_while_leaves_no_trace_in_reports(store: SqlStore) -> None:
    histories, end = Histories(store, 3), NOON + timedelta(hours=30, minutes=20)
    for _ in range(5):
        histories.live(NOON, end, open_ratio=1)
    catch_up(store, end + timedelta(days=3))
    catch_up(store, end)
    with store.reading() as uow:
        assert uow.rollups.progress().rolled_until == NOON + timedelta(hours=30)
    agree(report(store, NOON, end), exact(histories.claims, NOON, end))


def test_hours_that_are_no_longer_kept_are_read_from_days_and_spans(store: SqlStore) -> None:
    histories, end = Histories(store, 4), NOON + timedelta(days=9)
    for _ in range(12):
        histories.live(NOON, NOON + timedelta(days=8), open_ratio=0)
    catch_up(store, end)
    with store.writing() as uow:
        gone = [uow.rollups.forget_hours(NOON + timedelta(days=4), 100) for _ in range(4 * 24)]
        uow.commit()
    assert sum(gone) > 0
    for period in ("none", "hour"):
        begin, stop = NOON + timedelta(hours=7, seconds=3), NOON + timedelta(days=5, seconds=9)
        found = report(store, begin, stop, period=period)
        if period == "none":
            agree(found, exact(histories.claims, begin, stop))
        else:
            billed = sum(values[2] for values in found.values())
            whole = sum(v[2] for v in exact(histories.claims, begin, stop).values())
            assert billed == pytest.approx(whole, abs=1e-2)


def test_only_one_of_two_that_sum_up_the_same_hour_is_believed(store: SqlStore) -> None:
    histories, end = Histories(store, 6), NOON + timedelta(hours=5)
    histories.live(NOON, end)
    with store.reading() as uow:
        before = uow.rollups.progress()
    catch_up(store, end)
    with store.writing() as uow, pytest.raises(Conflict, match="another process"):
        uow.rollups.save_progress(before, before.__class__(
            rolled_until=NOON, hours_from=None, ledger_seq=0, newest_seq=0, purged_until=None,
            edition=0,
        ))  # fmt: skip
    agree(report(store, NOON, end), exact(histories.claims, NOON, end))


def test_what_a_server_held_before_it_was_parked_or_resized_is_charged_to_fair_share(
    store: SqlStore,
) -> None:
    histories, end = Histories(store, 8), NOON + timedelta(days=2)
    for _ in range(10):
        histories.live(NOON, end)
    with store.reading() as uow:
        holds = uow.requests.holds_since(NOON - timedelta(days=1))
    charged = sum(
        hold.demand["VCPU"] * ((hold.released_at or end) - hold.held_from).total_seconds()
        * hold.count for hold in holds
    )  # fmt: skip
    shared = [one for one in histories.claims if one.kind.quota is QuotaKind.SHARED]
    expected = sum(one.kind.demand["VCPU"] * one.hours(NOON, end) * 3600 for one in shared)
    assert charged == pytest.approx(expected)


@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("by_project", [False, True])
@pytest.mark.parametrize("hosts", [(), {"h2"}])
def test_merged_consumption_is_the_sum_of_what_it_merges(
    store: SqlStore, by_user: bool, by_project: bool, hosts: set[str] | tuple[()]
) -> None:
    histories, end = Histories(store, 8), NOON + timedelta(days=2)
    for _ in range(40):
        histories.live(NOON, end)
    begin, stop = NOON + timedelta(hours=3), end - timedelta(hours=5)
    sums: Any = defaultdict(lambda: [0, 0, 0])
    with store.reading() as uow:
        every = uow.rollups.consumption(begin, stop)
        merged = uow.rollups.consumption(
            begin, stop, by_user=by_user, by_project=by_project, hosts=hosts
        )
    for one in every:
        series = one.series
        if not (by_user and by_project):
            series = replace(
                series,
                association_id=0,
                user_id=series.user_id if by_user else "",
                project_id=series.project_id if by_project else "",
            )
        known = sums[series, one.host if one.host in hosts else None]
        known[:] = [known[0] + one.running, known[1] + one.started, known[2] + one.held_us]
    found = {(one.series, one.host): [one.running, one.started, one.held_us] for one in merged}
    assert found == sums
    assert len(merged) == len(found) <= len(every) - (not by_user)
