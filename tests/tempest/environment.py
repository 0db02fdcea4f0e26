"""Tempest itself, beside the lab: its virtual environment, configuration, accounts and runs.

Must not know Synergy: what Tempest is told is the same whoever stands between nova-api and Nova.
"""

import configparser
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import openstack

from lab.settings import SECRET
from lab.steps import Lab

HERE: Final = Path(__file__).parent
CONCURRENCY: Final = 2
ACCOUNTS: Final = CONCURRENCY + 1  # sets of accounts: a class may hold two of a kind
IMAGES: Final = ("tempest", "tempest-alt")
FLAVORS: Final = ("m1.tiny", "m1.small")
RUN_S: Final = 45 * 60  # longer than that it only hangs


class Tempest:
    """Tempest in one folder."""

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        self._lab, self._say = lab, say
        self.folder = lab.settings.folder / "tempest"
        self._venv = self.folder / "venv"
        self._conf = self.folder / "etc" / "tempest.conf"

    def install(self) -> None:
        """Make the virtual environment, once for each list of requirements."""
        wanted = (HERE / "requirements.txt").read_text()
        done = self._venv / "installed.txt"
        if done.exists() and done.read_text() == wanted:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._say("installing Tempest from PyPI")
        python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else "python3"
        self._ran([python, "-m", "venv", str(self._venv)])
        pip = [self._bin("pip"), "install", "--quiet", "--disable-pip-version-check"]
        self._ran([*pip, "-r", str(HERE / "requirements.txt")])
        done.write_text(wanted)

    def configure(self) -> None:
        """Write the configuration, and make what it names in the cloud: images and accounts."""
        shutil.rmtree(self.folder / "lock", ignore_errors=True)  # accounts that a killed run held
        for name in ("etc", "lock"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        cloud = openstack.connect(
            auth_url=f"{self._lab.settings.url('keystone')}/v3",
            username="admin", password=SECRET, project_name="admin",
            user_domain_id="default", project_domain_id="default", region_name="RegionOne",
            load_yaml_config=False, load_envvars=False,
        )  # fmt: skip
        try:
            _remove_servers(cloud)
            images = [self._image(cloud, name) for name in IMAGES]
            flavors = [cloud.compute.find_flavor(one, ignore_missing=False).id for one in FLAVORS]
        finally:
            cloud.close()
        accounts = self.folder / "etc" / "accounts.yaml"
        self._write(images, flavors, accounts)
        if not accounts.exists():
            self._say("making Tempest's accounts in Keystone")
            draft = accounts.with_suffix(".draft")
            self._ran([
                self._bin("tempest"), "account-generator", "--config-file", str(self._conf),
                "--os-username", "admin", "--os-password", SECRET, "--os-project-name", "admin",
                "--os-domain-name", "Default", "-r", str(ACCOUNTS), "--with-admin", str(draft),
            ])  # fmt: skip
            draft.rename(accounts)
        top = next(self._venv.glob("lib/python*/site-packages"))
        (self.folder / ".stestr.conf").write_text(
            f"[DEFAULT]\ntest_path={top}/tempest/test_discover\ntop_dir={top}\n"
            "group_regex=([^\\.]*\\.)*\n"
        )
        if not (self.folder / ".stestr").exists():
            self._ran([self._bin("stestr"), "init"])

    def tests(self, prefix: str) -> list[str]:
        """Return the names of all tests that begin with this, with their attributes."""
        listed = self._ran([self._bin("stestr"), "list", "^" + prefix.replace(".", r"\.")])
        return [line for line in listed.splitlines() if line.startswith(prefix)]

    def run(self, tests: Sequence[str], name: str) -> list[dict[str, Any]]:
        """Run tests, given with their attributes; return what became of each, as `outcomes` takes
        it. Progress goes to standard error."""
        chosen = self.folder / f"{name}.list"
        chosen.write_text("".join(f"{test}\n" for test in tests))
        self._follow([
            self._bin("stestr"), "run", "--concurrency", str(CONCURRENCY),
            "--load-list", str(chosen),
        ])  # fmt: skip
        last = subprocess.run(
            [self._bin("stestr"), "last", "--subunit"], cwd=self.folder, env=self._env(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        (self.folder / f"{name}.subunit").write_bytes(last.stdout)
        read = subprocess.run(
            [self._bin("python"), str(HERE / "print_results.py")],
            input=last.stdout, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return [json.loads(line) for line in read.stdout.splitlines()]

    def projects(self) -> int:
        """Return how many projects Tempest's accounts have."""
        names = (self.folder / "etc" / "accounts.yaml").read_text().splitlines()
        return len({name for name in names if "project_name" in name})

    def _image(self, cloud: Any, name: str) -> str:
        found = next((one for one in cloud.image.images() if one.name == name), None)
        if found is None:
            path = self.folder / "image.raw"
            path.write_bytes(bytes(1024))
            found = cloud.image.create_image(
                name=name, filename=str(path), disk_format="raw", container_format="bare",
                visibility="public", use_import=False,
            )  # fmt: skip
        return str(found.id)

    def _write(self, images: Sequence[str], flavors: Sequence[str], accounts: Path) -> None:
        conf = configparser.RawConfigParser()
        conf.read_dict({
            "DEFAULT": {"log_file": str(self.folder / "tempest.log")},
            "oslo_concurrency": {"lock_path": str(self.folder / "lock")},
            "auth": {
                "use_dynamic_credentials": "false",
                "create_isolated_networks": "false",
                "test_accounts_file": str(accounts),
                "admin_username": "admin",
                "admin_password": SECRET,
                "admin_project_name": "admin",
                "admin_domain_name": "Default",
                "default_credentials_domain_name": "Default",
            },
            "identity": {
                "auth_version": "v3",
                "uri_v3": f"{self._lab.settings.url('keystone')}/v3",
                "region": "RegionOne",
            },
            "service_available": dict.fromkeys(("cinder", "swift", "horizon"), "false"),
            "compute": {
                "image_ref": images[0],
                "image_ref_alt": images[1],
                "flavor_ref": flavors[0],
                "flavor_ref_alt": flavors[1],
                "min_compute_nodes": "2",
                "max_microversion": "latest",
                "build_timeout": "45",
            },
            "image": {"build_timeout": "45"},
            "compute-feature-enabled": {
                "resize": "true",
                "change_password": "true",
                "hostname_fqdn_sanitization": "true",
                "personality": "true",
                "interface_attach": "false",
                "config_drive": "false",
                "metadata_service": "false",
            },
            "network-feature-enabled": {"floating_ips": "false"},
            "validation": {"run_validation": "false"},
        })  # fmt: skip
        with self._conf.open("w") as file:
            conf.write(file)

    def _follow(self, command: Sequence[str]) -> None:
        """Run a command that prints what it does and has children, and leave none behind.

        Raises RuntimeError where it takes too long.
        """
        running = subprocess.Popen(
            command, cwd=self.folder, env=self._env(), stdin=subprocess.DEVNULL, stdout=2,
            start_new_session=True,
        )  # fmt: skip
        try:
            running.wait(RUN_S)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the tests did not end within {RUN_S} s") from None
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()

    def _ran(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._env(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:4])}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def _env(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self._venv / 'bin'}:{os.environ.get('PATH', '')}",
            "TEMPEST_CONFIG_DIR": str(self._conf.parent),
            "TEMPEST_CONFIG": self._conf.name,
            "PYTHONWARNINGS": "ignore",
        }

    def _bin(self, name: str) -> str:
        return str(self._venv / "bin" / name)


def _remove_servers(cloud: Any) -> None:
    """Delete the servers of a run that was killed: tests list what there is."""
    left = list(cloud.compute.servers(all_projects=True, name="tempest-"))
    for server in left:
        cloud.compute.delete_server(server, ignore_missing=True)
    for server in left:
        cloud.compute.wait_for_delete(server, interval=0.5, wait=90)
