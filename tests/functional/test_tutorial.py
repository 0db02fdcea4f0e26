"""The manager of the tutorial, as an installed plugin of a running service."""

import os
from pathlib import Path

import pytest

from tests.processes import ROOT, Running, free_port, prepare


def site_points(service: Running, ids: list[str]) -> set[float]:
    """The points that the site's factor added to those that wait."""
    last = service.execute("scheduler", "explain", f"request_id={ids[-1]}")
    return {last["priority"]["site"]} if last["priority"] else set()


def test_the_tutorials_manager_and_site_factor_run_as_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "plugin"
    info = package / "heartbeat-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "heartbeat.py").write_text((ROOT / "doc/source/heartbeat.py").read_text())
    (package / "short_first.py").write_text((ROOT / "doc/source/short_first.py").read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heartbeat\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[synergy.managers]\nheartbeat = heartbeat:HeartbeatManager\n"
        "[synergy.priority_factors]\nshort_first = short_first:ShortFirst\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package), prepend=os.pathsep)
    port = free_port()
    path = prepare(
        tmp_path,
        DEFAULT={
            "managers": "project,queue,quota,scheduler,nova,embedded,heartbeat",
            "site_factors": "short_first",
        },
        api={"port": port},
        nova={"rate_s": 0.2},
        heartbeat={"greeting": "good morning"},
    )
    service = Running(tmp_path, path, port)
    try:
        service.cli("project", "add", "science")
        service.execute("embedded", "create_server", "project=science", "user=bob", "flavor=small")
        service.until(lambda: service.execute("heartbeat", "total") == {"total": 1})
        service.until(lambda: "good morning: 1 new server(s)" in service.text())
        shown = service.json("manager", "show", "heartbeat")
        assert any(
            one["help"].startswith("Show how many servers booted") for one in shown["commands"]
        )
        service.cli("project", "set", "science", "--default-quota", "shared", "--ttl-s", "3600")
        many = ("flavor=large", "count=60")
        ids = service.execute("embedded", "create_server", "project=science", "user=bob", *many)
        service.until(lambda: site_points(service, ids) == {50.0})
    finally:
        assert service.stop() == 0
