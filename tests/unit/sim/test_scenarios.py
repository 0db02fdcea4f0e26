"""A scenario says who asks for what and when; everything else in it is an error."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from synergy.core.errors import InvalidInput
from synergy.core.model import Resources
from synergy.sim.measures import held_by_project, measure
from synergy.sim.scenarios import model, playing, reading
from synergy.sim.scenarios.model import HOUR_S, Submissions
from tests.unit.sim.test_simulate import command

SHIPPED = sorted((Path(__file__).parents[3] / "etc" / "synergy" / "scenarios").glob("*.yaml"))


def document(**changes: Any) -> dict[str, Any]:
    part = {"project": "a", "arrivals": {"process": "poisson", "per_hour": 30}, "runs": 600,
            "lifetime_s": 1200}  # fmt: skip
    return {
        "hours": 10,
        "cloud": {"VCPU": 8},
        "flavors": {"one": {"VCPU": 1}},
        "projects": {"a": {"shares": 3}, "b": {"shares": 1}},
        "demand": [part | changes.pop("part", {})],
    } | changes


def arrivals(process: dict[str, Any], hours: float = 48, **of_part: Any) -> Any:
    found = document(hours=hours, part={"arrivals": process, **of_part})
    return list(Submissions(reading.scenario(found)).arriving())


def hours(process: dict[str, Any], **options: Any) -> Any:
    return [submission.at_s / HOUR_S for submission in arrivals(process, **options)]


def test_every_process_asks_when_it_says() -> None:
    assert hours({"process": "constant", "per_hour": 2}, hours=2) == [0.5, 1.0, 1.5]
    count = len(hours({"process": "poisson", "per_hour": 100}))
    assert count == pytest.approx(4800, abs=4 * 4800**0.5)
    burst = {"process": "bursts", "size": 5, "every_h": 24, "first_h": 6, "spread_s": 1800}
    found = hours(burst)
    assert [6 <= one <= 6.5 for one in found] == [True] * 5 + [False] * 5
    assert all(30 <= one <= 30.5 for one in found[5:])
    days = hours({"process": "day_night", "per_hour_by_day": 50, "per_hour_by_night": 0})
    assert len(days) == pytest.approx(1200, abs=4 * 1200**0.5)
    assert all(8 <= one % 24 < 20 for one in days)
    assert hours({"process": "poisson", "per_hour": 0}) == []


def test_a_seed_gives_the_same_arrivals_and_a_further_part_leaves_the_others_alone() -> None:
    one, more = document(), document()
    more["demand"] = [*one["demand"], {**one["demand"][0], "project": "b"}]
    first = list(Submissions(reading.scenario(one)).arriving())
    assert first == list(Submissions(reading.scenario(one)).arriving())
    both = list(Submissions(reading.scenario(more)).arriving())
    assert [submission for submission in both if submission.project == "a"] == first
    assert first != list(Submissions(reading.scenario(document(seed=2))).arriving())


def test_a_closed_loop_user_never_has_two_servers_and_thinks_between_them() -> None:
    loop = {"process": "closed_loop", "users": 3, "think_s": 60}
    found = document(hours=24, cloud={"VCPU": 2}, part={"arrivals": loop, "lifetime_s": 600})
    played = playing.play(reading.scenario(found), "fifo", "submit")
    assert played.started.all()
    spans = sorted(zip(played.submit_s, played.end_s, strict=True))
    for place, (submit_s, _) in enumerate(spans):
        open_ = sum(begin <= submit_s < end for begin, end in spans[: place + 1])
        assert open_ <= 3
    alone = document(hours=24, part={"arrivals": loop | {"users": 1}, "lifetime_s": 600})
    single = playing.play(reading.scenario(alone), "fifo", "submit")
    assert (single.submit_s[1:] > single.end_s[:-1]).all()
    think_s = (single.submit_s[1:] - single.end_s[:-1]).mean()
    assert think_s == pytest.approx(60, rel=0.4)


def test_shares_and_private_quotas_count() -> None:
    busy = {"process": "constant", "per_hour": 60}
    part = {"project": "a", "arrivals": busy, "runs": 1200, "lifetime_s": 1200}
    both = document(hours=40, demand=[part, part | {"project": "b"}])
    played = playing.play(reading.scenario(both), "easy")
    assert played.promised.tolist() == [0.75, 0.25]
    had = held_by_project(played, played.edges_s()).sum(axis=0)  # while requests arrive
    assert had / had.sum() == pytest.approx(played.promised, abs=0.03)
    owned = both | {"projects": {"a": {}, "b": {"quota": {"VCPU": 8}}}}
    a, b = measure(playing.play(reading.scenario(owned), "easy")).projects
    assert a.started == 0  # nothing is shared, so that it never fits
    assert a.refused == a.requests
    assert b.started == b.requests


def test_fixed_quotas_give_each_its_part_and_reject_the_rest() -> None:
    part = {"project": "a", "runs": 3600, "lifetime_s": 3600,
            "arrivals": {"process": "bursts", "size": 8, "every_h": 9}}  # fmt: skip
    found = playing.play_fixed(reading.scenario(document(demand=[part])))
    assert found.started.tolist() == ([True] * 6 + [False] * 2) * 2
    again = part | {"arrivals": {"process": "closed_loop", "users": 7, "think_s": 30}}
    found = playing.play_fixed(reading.scenario(document(demand=[again])))
    assert found.refused.any()
    assert len(found.submit_s) > 60  # who is rejected asks again


BAD = [
    ({"part": {"arrivals": {"process": "poisson", "per_hour": -3}}},
     "demand[0].arrivals.per_hour is -3, but must be a number from 0 to 1000000"),
    ({"part": {"arrivals": {"process": "weekly"}}},
     "demand[0].arrivals.process is 'weekly', but must be one of constant, poisson, bursts"),
    ({"part": {"arrivals": {"process": "poisson"}}}, "demand[0].arrivals.per_hour is missing: add"),
    ({"part": {"arrivals": {"process": "poisson", "per_hour": 1, "size": 4}}},
     "demand[0].arrivals has the key 'size', which is none of process, per_hour"),
    ({"part": {"project": "c"}}, "demand[0].project is 'c', but must be one of a, b"),
    ({"part": {"users": ["eve"]}}, "demand[0].users is 'eve', but must be one of user"),
    ({"part": {"flavors": {"two": 1}}}, "a name in demand[0].flavors is 'two', but must be one of"),
    ({"part": {"flavors": {"one": 0}}}, "demand[0].flavors has no weight above 0: give one"),
    ({"part": {"lifetime_s": 0}}, "demand[0].lifetime_s is 0, but must be a whole number from 1"),
    ({"part": {"runs": {"mean_s": float("nan")}}}, "demand[0].runs.mean_s is nan, but must be"),
    ({"part": {"runs": {"distribution": "pareto", "mean_s": 4}}}, "demand[0].runs.distribution is"),
    ({"hours": 0}, "hours is 0, but must be a number from 0.01"),
    ({"cloud": {"VCPU": -1}}, "cloud: VCPU is -1, but must be an integer from 0"),
    ({"cloud": {"cores": 1}}, "cloud: 'cores' is not a resource class such as VCPU"),
    ({"cloud": [8]}, "cloud is [8], but must be amounts such as VCPU: 4"),
    ({"projects": {"a": {"quota": {"VCPU": 9}}}},
     "the quotas under projects have 1 VCPU more than the cloud: lower them"),
    ({"projects": {"a": {"shares": 1.5}}}, "projects.a.shares is 1.5, but must be a whole number"),
    ({"demand": []}, "demand is [], but must be a list of 1 to"),
    ({"sed": 4}, "the scenario has the key 'sed', which is none of flavors, projects, name"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "told"), BAD)
def test_what_is_wrong_is_named_with_its_value_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(document(**changes)))
    with pytest.raises(InvalidInput) as error:
        reading.read(path)
    assert str(error.value).startswith(f"{path}: {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hours: 1\nhours: 2\n", "the key 'hours' is there twice"),
        ("{", "is not YAML"),
        ("!!python/object:os.system {}", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        ("", "the scenario is None, but must be a mapping"),
        ("just text", "the scenario is 'just text', but must be a mapping"),
    ],
)
def test_what_is_no_scenario_is_told_so(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told):
        reading.read(path)
    with pytest.raises(InvalidInput, match="No such file"):
        reading.read(tmp_path / "none.yaml")


def test_too_many_requests_end_with_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_REQUESTS", 100)
    with pytest.raises(InvalidInput, match="more than 100 requests arrive: lower the rates"):
        arrivals({"process": "constant", "per_hour": 60})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_scenarios_are_read_and_fill_their_cloud(path: Path) -> None:
    scenario = reading.read(path)
    found = measure(playing.play_fixed(scenario))
    assert found.whole.refused > 100
    assert scenario.shared.fits_in(scenario.total)
    assert scenario.shared != Resources()


def test_the_command_plays_a_scenario_and_takes_nothing_that_belongs_to_a_log(
    tmp_path: Path,
) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(yaml.safe_dump(document(name="made up")))
    options = ("simulate", "--scenario", path)
    done = command(
        *options, "--compare", "fifo,easy", "-f", "json", "--report", tmp_path / "p.html"
    )
    found = json.loads(done.stdout)
    assert (found["of"], found["vcpus"]) == ("made up", 8)
    assert [one["name"] for one in found["policies"][0]["projects"]] == ["a", "b"]
    assert "made up" in (tmp_path / "p.html").read_text()
    other = json.loads(command(*options, "--seed", "7", "-f", "json").stdout)
    assert other["policies"][0]["wait_s"] != found["policies"][1]["wait_s"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a log FILE or --scenario FILE.yaml: neither is given"),
        (["log.swf", "--scenario", "s.yaml"], "name a log FILE or --scenario FILE.yaml: both are"),
        (["log.swf"], "--vcpus is missing: give the size of the pool"),
        (["--scenario", "s.yaml", "--vcpus", "4"], "--vcpus is for a log: take it out"),
        (["--scenario", "s.yaml", "--engine", "managers"], "--engine managers is for a log"),
        (["--scenario", "none.yaml"], "none.yaml: No such file"),
    ],
)
def test_a_wrong_source_ends_with_one_line(arguments: list[str], told: str) -> None:
    done = command("simulate", *arguments, ok=False)
    assert told in done.stderr.splitlines()[-1]
