"""Hundreds of real servers by two projects, through kills and a restart of the broker.

Run by `make endurance`; writes its figures as JSON. Sized by ENDURANCE_SERVERS and ENDURANCE_KILLS.
"""

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymysql
import pytest

from lab.settings import SECRET, Settings
from lab.steps import Lab
from tests.contract.clouds import Connect
from tests.openstack.beside import Beside, until

pytestmark = [pytest.mark.openstack, pytest.mark.endurance]
SERVERS = int(os.environ.get("ENDURANCE_SERVERS", "500"))
KILLS = int(os.environ.get("ENDURANCE_KILLS", "20"))
SHARES = {"science": 70, "physics": 30}
USERS = {"science": "alice", "physics": "carol"}
ASKED = {"science": int(SERVERS * 0.8), "physics": int(SERVERS * 0.4)}
PATIENCE_S = 2700


class Endurance:
    """The experiment: who asked for what, how often Synergy was killed, and what came of it."""

    def __init__(self, lab: Lab, connect: Connect, service: Beside) -> None:
        self.lab, self.connect, self.service = lab, connect, service
        self.rng, self.kills, self.restarted = random.Random(1), 0, False
        self.ids: dict[str, list[str]] = {project: [] for project in SHARES}

    def ask(self) -> None:
        """Let both users create servers one by one, and kill Synergy meanwhile."""
        users = [threading.Thread(target=self._ask_for, args=(project,)) for project in SHARES]
        for one in users:
            one.start()
        while any(one.is_alive() for one in users):
            time.sleep(self.rng.uniform(2, 6))
            if self.kills < KILLS // 4:
                self.kill()
        until(lambda: len(self.service.requests()) == sum(ASKED.values()), 60)

    def _ask_for(self, project: str) -> None:
        user = self.connect(USERS[project], project)
        flavor = user.compute.find_flavor("m1.small", ignore_missing=False).id
        image = user.image.find_image("tiny", ignore_missing=False).id
        for number in range(ASKED[project]):
            made = user.compute.create_server(
                name=f"{project}-{number}", flavor_id=flavor, image_id=image, networks="none"
            )
            self.ids[project].append(made.id)

    def kill(self) -> None:
        self.service.kill()
        self.service.start()
        self.kills += 1

    def run(self) -> None:
        """Let them start, with kills and one restart of the broker, until all are gone."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            time.sleep(self.rng.uniform(3, 9))
            states = {one["id"]: one["state"] for one in self.service.requests()}
            started = sum(state != "QUEUED" for state in states.values())
            if self.kills < KILLS:
                self.kill()
            if not self.restarted and started > SERVERS // 3:
                self.lab.processes.stop(["rabbitmq"])
                self.lab.up()
                self.restarted = True
            if set(states.values()) == {"DELETED"}:
                return
            assert time.monotonic() < deadline_s, Counter(states.values())

    def figures(self) -> dict[str, Any]:

        def count(database: str, text: str) -> int:
            return int(query(self.lab.settings, database, text)[0][0])

        stories = {
            (project, one): self.service.ask("GET", f"/v1/requests/{one}")["request"]["history"]
            for project, found in self.ids.items()
            for one in found
        }
        booted = Counter(
            sum(step["to"] == "ACTIVE" for step in story) for story in stories.values()
        )
        started = split_while_all_wait(
            (max(step["at"] for step in story if step["event"] == "SELECTED"), project)
            for (project, _), story in stories.items()
        )
        return {
            "servers": sum(ASKED.values()),
            "kills": self.kills,
            "broker_restarted": self.restarted,
            "lost": sum(ASKED.values()) - len(self.service.requests()),
            "times_active": dict(booted),
            "split_while_both_had_a_backlog": dict(started),
            "science_share": started["science"] / started.total(),
            "left_in_the_cell": count(
                "nova_cell1", "select count(*) from instances where deleted = 0"
            ),
            "errors_ever_in_the_cell": count("nova_cell1", "select count(*) from instance_faults"),
            "leaked_allocations": count("placement", "select count(*) from allocations"),
            "drift": self.service.command("nova", "drift"),
        }


def split_while_all_wait(starts: Iterable[tuple[str, str]]) -> Counter[str]:
    """Count who started, in the order of the starts (instant, project), until the first project has
    nothing left that waits: from then on the others get everything."""
    started: Counter[str] = Counter()
    for _, project in sorted(starts):
        started[project] += 1
        if started[project] == ASKED[project]:
            return started
    return started


def query(settings: Settings, database: str, text: str) -> Any:
    with (
        pymysql.connect(
            host="127.0.0.1", port=settings.ports["mariadb"], user="lab", password=SECRET,
            database=database,
        ) as connection,
        connection.cursor() as cursor,
    ):  # fmt: skip
        cursor.execute(text)
        return cursor.fetchall()


@pytest.fixture
def service(on_edge: Lab, connect: Connect, tmp_path: Path) -> Iterator[Beside]:
    """A service beside the lab, whose whole capacity is shared by the two projects."""
    admin = connect()
    for project in admin.identity.projects():
        admin.compute.update_quota_set(project.id, cores=0, ram=0, instances=10, force=True)
    database = f"synergy_{uuid4().hex}"
    made = Beside(
        on_edge.settings, tmp_path, nova={"settle_s": 20, "reconcile_s": 20},
        expiry={"rate_s": 2}, scheduler={"rate_s": 5},
        database={"connection": on_edge.add_database(database)},
    ).start()  # fmt: skip
    for project, shares in SHARES.items():
        made.ask("POST", "/v1/projects", {
            "project": project, "default_quota": "shared", "ttl_s": 12, "raw_shares": shares,
            "private": {"VCPU": 0, "MEMORY_MB": 0}, "suspended": True,
        })  # fmt: skip
    yield made
    made.stop()
    on_edge.remove_database(database)
    for project in admin.identity.projects():
        admin.compute.revert_quota_set(project.id)


def test_hundreds_of_servers_through_kills(on_edge: Lab, connect: Connect, service: Beside) -> None:
    made, began_s = Endurance(on_edge, connect, service), time.monotonic()
    made.ask()
    asked_s = time.monotonic() - began_s
    for project in SHARES:
        service.ask("PATCH", f"/v1/projects/{project}", {"suspended": False})
    made.run()
    admin = connect()
    until(lambda: not list(admin.compute.servers(all_projects=True)), 60)
    figures = made.figures() | {
        "asking_s": round(asked_s),
        "dispatching_s": round(time.monotonic() - began_s - asked_s),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    assert figures["lost"] == figures["left_in_the_cell"] == figures["leaked_allocations"] == 0
    assert set(figures["times_active"]) == {1}
    assert abs(figures["science_share"] - 0.7) < 0.03
