"""The manager of the tutorial, as an installed plugin of a running service."""

import json
import os

from tests.functional.test_service import ROOT, Running, free_port, prepare


def test_the_tutorials_manager_runs_as_a_plugin(tmp_path, monkeypatch):
    package = tmp_path / "plugin"
    info = package / "heartbeat-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "heartbeat.py").write_text((ROOT / "doc/source/heartbeat.py").read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heartbeat\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[synergy.managers]\nheartbeat = heartbeat:HeartbeatManager\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package), prepend=os.pathsep)
    port = free_port()
    path = prepare(
        tmp_path,
        DEFAULT={"managers": "project,queue,quota,scheduler,nova,embedded,heartbeat"},
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
        assert "total: Show how many servers booted" in json.dumps(shown)
    finally:
        assert service.stop() == 0
