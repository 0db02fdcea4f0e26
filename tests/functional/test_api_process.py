"""The API of a running service: over TLS, behind uwsgi, by `openstack`, and fuzzed."""

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from synergy.client import ApiError, connect
from tests.processes import BIN, Running, configure, free_port, prepare, problems_of, run


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("api")
    port = free_port()
    path = prepare(folder, api={"port": port, "socket": folder / "rpc.sock"}, nova={"rate_s": 0.2})
    running = Running(folder, path, port)
    running.cli("project", "add", "science", "--ttl-s", "3600")
    running.execute(
        "embedded", "create_server", "project=science", "user=alice", "flavor=large", "count=30",
        'metadata={"quota": "shared"}',
    )  # fmt: skip
    running.until(lambda: "ACTIVE" in running.states())
    yield running
    running.stop()
    assert not (folder / "rpc.sock").exists()


@pytest.fixture(scope="module")
def uwsgi(service: Running) -> Iterator[str]:
    port = free_port()
    with (service.folder / "uwsgi.log").open("w") as log:
        process = subprocess.Popen(
            [BIN / "pyuwsgi", "--http-socket", f"127.0.0.1:{port}", "--need-app",
             "--module", "synergy.service.wsgi:application", "--master", "--processes", "2",
             "--die-on-term", "--virtualenv", str(BIN.parent)],
            env=os.environ | {"SYNERGY_CONFIG_FILES": str(service.path)},
            stdout=log, stderr=log, cwd=service.folder, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    deadline_s = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{url}/healthcheck", timeout=5).close()
            break
        except OSError:
            assert time.monotonic() < deadline_s, (service.folder / "uwsgi.log").read_text()
            time.sleep(0.1)
    yield url
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


def asked(url: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        url + path, method=method, data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("GET", "/v1/projects", None),
        ("GET", "/v1/openapi.json", None),
        ("GET", "/v1/projects/nosuch", None),
        ("GET", "/v1/requests?limit=0", None),
        ("PATCH", "/v1/projects/science", {"raw_shares": 3}),
        ("PATCH", "/v1/projects/science", {"raw_shares": "x"}),
        ("POST", "/v1/managers/queue/commands/fly", {}),
        ("POST", "/v1/requests/nosuch/cancel", None),
    ],
)
def test_behind_uwsgi_it_answers_as_in_the_service(
    service: Running, uwsgi: str, method: str, path: str, body: object
) -> None:
    ours, theirs = asked(service.url, method, path, body), asked(uwsgi, method, path, body)
    if method == "PATCH" and ours[0] == 200:
        for _, found in (ours, theirs):
            found["project"].pop("revision")
    assert ours == theirs


def test_behind_uwsgi_a_service_that_is_away_is_told(uwsgi: str, service: Running) -> None:
    (service.folder / "rpc.sock").rename(service.folder / "elsewhere")
    try:
        status, found = asked(uwsgi, "GET", "/v1/projects")
        assert (status, found["errors"][0]["code"]) == (503, "upstream_unavailable")
        assert "synergy-service does not answer" in found["errors"][0]["detail"]
    finally:
        (service.folder / "elsewhere").rename(service.folder / "rpc.sock")
    assert asked(uwsgi, "GET", "/v1/projects")[0] == 200


def test_the_socket_is_for_its_owner_only(service: Running) -> None:
    assert (service.folder / "rpc.sock").stat().st_mode & 0o077 == 0


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private


class OverTls(Running):
    def get(self, path: str) -> Any:
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        with urllib.request.urlopen(self.url + path, timeout=10, context=context) as answer:
            return json.load(answer)


def test_it_speaks_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    port = free_port()
    path = prepare(tmp_path, api={"port": port, "tls_cert_file": cert, "tls_key_file": key})
    running = OverTls(tmp_path, path, port, url=f"https://localhost:{port}")
    try:
        done = run(
            "synergy", "--endpoint", running.url, "--os-cacert", cert, "manager", "list",
            cwd=tmp_path,
        )  # fmt: skip
        assert "RUNNING" in done.stdout
        untrusting = run("synergy", "--endpoint", running.url, "manager", "list",
                         cwd=tmp_path, ok=False)  # fmt: skip
        assert "certificate" in untrusting.stderr.lower()
        assert "Traceback" not in untrusting.stderr
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tls_cert_file": "here.pem"}, "[api] tls_key_file is missing"),
        ({"tls_cert_file": "no.pem", "tls_key_file": "no.key"}, "no.pem cannot be read"),
        ({"auth_strategy": "keystone"}, "[keystone_authtoken] auth_url and auth_type are missing"),
        ({"auth_strategy": "open"}, "[api] auth_strategy"),
        ({"tls_cert_file": __file__, "tls_key_file": __file__}, "cannot be used"),
        ({"host": "127.evil.example"}, "must be a loopback address with auth_strategy=none"),
        ({"host": "localhost.evil"}, "must be a loopback address with auth_strategy=none"),
        ({"host": "0.0.0.0"}, "must be a loopback address with auth_strategy=none"),
        (
            {"socket": "/nowhere/rpc.sock"},
            "[api] socket /nowhere/rpc.sock: its folder does not exist",
        ),
        ({"socket": f"/tmp/{'x' * 120}"}, "a path may have 107 bytes at most"),
    ],
)
def test_a_wrong_setting_of_the_api_is_told_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in "\n".join(problems_of(prepare(tmp_path, api=changes)))


def test_none_is_refused_beside_a_real_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = prepare(tmp_path)
    path.write_text(path.read_text().replace("cloud = embedded", "cloud = openstack"))
    refused = "auth_strategy is none, but [DEFAULT] cloud is openstack"
    assert refused in "\n".join(problems_of(path))


@pytest.mark.parametrize("changes", [{"host": "0.0.0.0"}, {"host": "127.evil.example"}])
def test_behind_uwsgi_what_is_wrong_is_told_too(tmp_path: Path, changes: Any) -> None:
    path = configure(tmp_path, api={"socket": tmp_path / "rpc.sock", **changes})
    done = run("python", "-c", "import synergy.service.wsgi", cwd=tmp_path, ok=False,
               SYNERGY_CONFIG_FILES=str(path))  # fmt: skip
    assert "must be a loopback address" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"X-Forwarded-For": "10.0.0.1"},
     {"Sec-Fetch-Site": "cross-site"}],
)  # fmt: skip
def test_no_page_of_another_site_reaches_the_embedded_cloud(
    service: Running, uwsgi: str, headers: dict[str, str]
) -> None:
    for url in (service.url, uwsgi):
        request = urllib.request.Request(
            f"{url}/v1/managers/queue/stop", method="POST", headers=headers
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        with refused.value as answer:
            assert answer.code == 403
    assert service.get("/healthcheck")["healthy"]


def test_the_client_walks_pages_and_raises_what_the_api_says(service: Running) -> None:
    client = connect(service.url)
    assert len(list(client.requests.list(states=["QUEUED"]))) > 20
    seen = [one["id"] for one in client.requests.list(limit=25)]
    assert len(seen) == len(set(seen)) == 25
    waiting = next(iter(client.requests.list(states=["QUEUED"])))
    explained = client.requests.explain(waiting["id"])
    assert explained["reason"] == waiting["reason"] == "no_free_quota"
    revision = client.requests.show(waiting["id"])["revision"]
    client.requests.hold(waiting["id"], revision=revision)
    with pytest.raises(ApiError) as failed:
        client.requests.release(waiting["id"], revision=revision)
    assert (failed.value.status, failed.value.code) == (412, "precondition_failed")
    assert failed.value.request_id.startswith("req-")
    assert client.reports.latest_round()["reasons"]["no_free_quota"] > 20
    assert len(list(client.reports.events(limit=7))) == 7


def test_a_cloud_that_nobody_described_is_told_in_one_line(service: Running) -> None:
    done = run("synergy", "--os-cloud", "nosuch", "manager", "list", cwd=service.folder, ok=False)
    assert done.stderr.strip() == "Cloud nosuch was not found."


def test_everything_is_there_on_the_command_line(service: Running) -> None:
    for words in (
        ["user", "list", "science"], ["share", "list", "--explain"], ["priority", "list"],
        ["usage", "report", "--period", "day"], ["event", "list", "--limit", "3"],
        ["request", "list", "--long", "--sort-key", "name", "--sort-column", "state"],
        ["event", "list", "--project", "science", "--event", "ADMITTED", "--marker", "1"],
        ["audit", "list", "--outcome", "done", "--operation", "add_project"],
        ["project", "set", "science", "--priority", "none", "--no-suspended"],
        ["user", "set", "science", "alice", "--priority", "none"],
    ):  # fmt: skip
        service.json(*words)
    for form in ("csv", "value", "yaml", "table"):
        service.cli("usage", "report", "-f", form)
    assert service.json("round", "show")["waiting"] is not None
    checked = service.json("request", "check", "--project", "science", "--flavor", "small",
                           "--property", "quota=shared")  # fmt: skip
    assert checked["reason"] in (None, "no_free_quota")
    assert "_synergy" in service.cli("complete").stdout
    assert service.json("request", "list", "--user", "alice", "--limit", "1")
    assert service.json("request", "list", "--user", "bob") == []
    waiting = service.json("request", "list", "--state", "QUEUED", "--limit", "2")
    ids = [one["id"] for one in waiting]
    service.cli("request", "hold", *ids)
    assert {service.json("request", "show", one)["state"] for one in ids} == {"HELD"}
    failed = service.cli("request", "release", *ids, "nosuch", ok=False)
    assert failed.stderr.strip() == "request 'nosuch' does not exist (not_found)"
    assert "HELD" not in {service.json("request", "show", one)["state"] for one in ids}
    running = service.json("request", "list", "--state", "ACTIVE", "--quota", "shared")[0]["id"]
    before = service.json("request", "show", running)["expires_at"]
    service.cli("request", "extend", running, "--by", "3600")
    assert service.json("request", "show", running)["expires_at"] > before


def test_the_documented_example_runs(service: Running) -> None:
    done = subprocess.run(
        [BIN / "python", Path(__file__).parents[2] / "doc" / "source" / "client_example.py",
         service.url],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "no_free_quota Not enough quota is free." in done.stdout
    assert done.stdout.endswith("404 not_found\n")


def test_a_list_is_watched_until_it_is_stopped(service: Running) -> None:
    watching = subprocess.Popen(
        [str(BIN / "synergy"), "--endpoint", service.url, "request", "list", "--watch", "0.1",
         "-f", "value", "-c", "state"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    count = len(list(connect(service.url).requests.list()))
    with watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(2 * min(count, 100))]
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=20)
    assert (watching.returncode, errors) == (0, "")
    assert all(line.strip() for line in lines)


def test_openstack_has_the_same_commands(service: Running) -> None:
    environment: dict[str, Any] = {
        "OS_AUTH_TYPE": "none", "OS_ENDPOINT": service.url, "OS_CLOUD": "",
        "OS_CLIENT_CONFIG_FILE": str(service.folder / "none.yaml"),
    }  # fmt: skip
    done = run("openstack", "synergy", "manager", "list", "-f", "json",
               cwd=service.folder, **environment)  # fmt: skip
    assert {"queue", "scheduler"} <= {one["name"] for one in json.loads(done.stdout)}
    helped = run("openstack", "help", "synergy", cwd=service.folder, **environment).stdout
    ours = service.cli("--help").stdout
    for command in ("request explain", "project set", "usage report", "event list"):
        assert f"synergy {command}" in helped
        assert command in ours
