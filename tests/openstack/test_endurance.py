"""Hundreds of real servers by two projects, through kills and a restart of the broker.

Run by `make endurance`; prints its figures as JSON. Sized by ENDURANCE_SERVERS and ENDURANCE_KILLS.
"""

import json
import os
import random
import threading
import time
from collections import Counter

import pymysql
import pytest

from lab.settings import SECRET
from tests.openstack.beside import Beside, until

pytestmark = [pytest.mark.openstack, pytest.mark.endurance]
SERVERS = int(os.environ.get("ENDURANCE_SERVERS", "500"))
KILLS = int(os.environ.get("ENDURANCE_KILLS", "20"))
SHARES = {"science": 70, "physics": 30}
USERS = {"science": "alice", "physics": "carol"}
DONE = ("DELETED", "CANCELLED", "REJECTED")


def ask_for(connect, project, count, ids):
    """Create servers one by one as a user of the project does."""
    user = connect(USERS[project], project)
    flavor = user.compute.find_flavor("m1.small", ignore_missing=False).id
    image = user.image.find_image("tiny", ignore_missing=False).id
    for number in range(count):
        made = user.compute.create_server(
            name=f"{project}-{number}", flavor_id=flavor, image_id=image, networks="none"
        )
        ids.append(made.id)


def query(settings, database, text):
    with (
        pymysql.connect(
            host="127.0.0.1", port=settings.ports["mariadb"], user="lab", password=SECRET,
            database=database,
        ) as connection,
        connection.cursor() as cursor,
    ):  # fmt: skip
        cursor.execute(text)
        return cursor.fetchall()


def test_hundreds_of_servers_through_kills(on_edge, connect, tmp_path):
    admin, rng, began_s = connect(), random.Random(1), time.monotonic()
    for project in admin.identity.projects():
        admin.compute.update_quota_set(project.id, cores=0, ram=0, instances=10, force=True)
    service = Beside(
        on_edge.settings, tmp_path,
        nova={"settle_s": 20, "reconcile_s": 20}, expiry={"rate_s": 2},
        scheduler={"rate_s": 5},
    ).start()  # fmt: skip
    private = {"VCPU": 0, "MEMORY_MB": 0}
    for project, shares in SHARES.items():
        service.ask("POST", "/v1/projects", {
            "project": project, "default_quota": "shared", "ttl_s": 12, "private": private,
            "raw_shares": shares, "suspended": True,
        })  # fmt: skip
    ids = {project: [] for project in SHARES}
    count = {"science": int(SERVERS * 0.8), "physics": int(SERVERS * 0.4)}
    creators = [
        threading.Thread(target=ask_for, args=(connect, project, count[project], ids[project]))
        for project in SHARES
    ]
    for one in creators:
        one.start()
    kills = 0
    while any(one.is_alive() for one in creators):
        time.sleep(rng.uniform(2, 6))
        if kills < KILLS // 4:
            service.kill()
            service.start()
            kills += 1
    asked_s = time.monotonic() - began_s
    every = [one for found in ids.values() for one in found]
    assert len(every) == sum(count.values())
    until(lambda: len(service.requests()) == len(every), 60)
    for project in SHARES:
        service.ask("PATCH", f"/v1/projects/{project}", {"suspended": False})
    dispatch_began_s, restarted, split = time.monotonic(), False, {}
    while True:
        time.sleep(rng.uniform(3, 9))
        found = service.requests()
        started = Counter(
            next(p for p, mine in ids.items() if one["id"] in set(mine))
            for one in found if one["state"] not in ("QUEUED", "HELD")
        )  # fmt: skip
        if not split and min(count[p] - started[p] for p in SHARES) < 10:
            split = dict(started)  # from here on one of them has no backlog
        if kills < KILLS:
            service.kill()
            service.start()
            kills += 1
        if not restarted and sum(started.values()) > SERVERS // 3:
            on_edge.processes.stop(["rabbitmq"])
            on_edge.up()
            restarted = True
        if all(one["state"] in DONE for one in found):
            break
        assert time.monotonic() - began_s < 2400, Counter(one["state"] for one in found)
    built = Counter(
        step["event"] == "HANDED_OVER"
        for one in every[:50]
        for step in service.ask("GET", f"/v1/requests/{one}")["request"]["history"]
    )
    until(lambda: not list(admin.compute.servers(all_projects=True)), 60)
    settings = on_edge.settings
    orphans = query(settings, "nova_cell1", "select uuid from instances where deleted = 0")
    leaked = query(settings, "placement", "select consumer_id from allocations")
    ended = Counter(one["state"] for one in service.requests())
    errors = query(
        settings, "nova_cell1", "select count(*) from instances where vm_state = 'error'"
    )
    figures = {
        "servers": len(every),
        "kills": kills,
        "broker_restarted": restarted,
        "ended": dict(ended),
        "lost": len(every) - len(service.requests()),
        "split_while_both_had_a_backlog": split,
        "science_share": split["science"] / sum(split.values()),
        "orphaned_in_the_cell": len(orphans),
        "leaked_allocations": len(leaked),
        "errors_in_the_cell": errors[0][0],
        "drift": service.command("nova", "drift"),
        "handed_over_of_the_first_50": built[True],
        "asking_s": round(asked_s),
        "dispatching_s": round(time.monotonic() - dispatch_began_s),
    }
    print(json.dumps(figures, indent=2))
    service.stop()
    for project in SHARES:
        admin.compute.revert_quota_set(admin.identity.find_project(project).id)
    assert figures["lost"] == figures["orphaned_in_the_cell"] == 0
    assert figures["leaked_allocations"] == 0
    assert set(ended) == {"DELETED"}
    assert abs(figures["science_share"] - 0.7) < 0.03
