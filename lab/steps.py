"""The steps that bring up the lab. Each is idempotent; one that fails shows the end of its log."""

import getpass
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lab import configuration, packages
from lab.processes import Processes
from lab.settings import SECRET, SERVICES, Settings

HERE = Path(__file__).parent
DATABASES = ("keystone", "placement", "glance", "nova_api", "nova_cell0", "nova_cell1")


class Lab:
    """The lab of one folder."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings, self.say = settings, say
        self.processes = Processes(settings.folder)
        self._etc = settings.folder / "etc"

    def up(self) -> None:
        """Install, configure, start and fill whatever is missing."""
        steps: tuple[tuple[str, Callable[[], object]], ...] = (
            ("Debian packages", partial(packages.install, packages.LAB)),
            ("OpenStack from PyPI", self._environment),
            ("configuration", lambda: configuration.write(self.settings)),
            ("database", self._database),
            ("message broker", self._broker),
            ("Keystone", self._keystone),
            (
                "accounts and catalogue",
                lambda: self._once("accounts", lambda: self._seed("accounts")),
            ),
            ("Placement, Glance and what Neutron answers", self._placement_and_glance),
            ("Nova", self._nova),
            ("flavors, image, hosts", lambda: self._seed("resources")),
        )
        for number, (name, step) in enumerate(steps, start=1):
            began_s = time.monotonic()
            try:
                step()
            except (RuntimeError, OSError) as error:
                raise RuntimeError(f"step {number} of {len(steps)}, {name}: {error}") from error
            self.say(f"[{number}/{len(steps)}] {name}: {time.monotonic() - began_s:.0f} s")

    def down(self) -> None:
        """Stop everything; the data remain."""
        names = self.processes.names()
        last = [name for name in ("rabbitmq", "mariadb") if name in names]
        self.processes.stop([name for name in names if name not in last])
        if self.processes.alive("rabbitmq"):
            self._rabbitmqctl("stop", check=False)
        self.processes.stop(last)
        self._run("epmd", ["epmd", "-port", str(self.settings.ports["epmd"]), "-kill"],
                  env=self._rabbit_env(), check=False)  # fmt: skip

    def with_settings(self, **settings: Any) -> "Lab":
        """Return the same lab with other settings, for services that are started from now on."""
        return Lab(replace(self.settings, **settings), self.say)

    def restart(self, name: str) -> None:
        """Stop one service, and start everything that does not run."""
        self.processes.stop([name])
        self.up()

    def status(self) -> dict[str, int | None]:
        """Return the process id of each service, None where it died."""
        return {name: self.processes.alive(name) for name in reversed(self.processes.names())}

    def client_env(self, user: str = "admin", project: str = "admin") -> dict[str, str]:
        """Return the environment of a client of the cloud."""
        return {
            "OS_AUTH_URL": f"{self.settings.url('keystone')}/v3",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": user,
            "OS_PASSWORD": SECRET,
            "OS_PROJECT_NAME": project,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_REGION_NAME": "RegionOne",
        }

    # --- software ---------------------------------------------------------------------------------

    def _environment(self) -> None:
        wanted = (HERE / "requirements.txt").read_text()
        done = self.settings.venv / "installed.txt"
        if done.exists() and done.read_text() == wanted:
            return
        python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else "python3"
        self._run("install", [python, "-m", "venv", str(self.settings.venv)])
        pip = [self.settings.bin("pip"), "install", "--quiet", "--disable-pip-version-check"]
        self._run("install", [*pip, "-r", str(HERE / "requirements.txt")])
        done.write_text(wanted)

    # --- database and broker ----------------------------------------------------------------------

    def _database(self) -> None:
        data, sockets = self.settings.folder / "mariadb", self.settings.folder / "run"
        user, port = _user(), self.settings.ports["mariadb"]
        if not (data / "mysql").is_dir():
            self._run("mariadb-install", [
                "mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={data}",
                "--auth-root-authentication-method=normal", "--skip-test-db",
            ])  # fmt: skip
        self.processes.start("mariadb", [
            _found("mariadbd"), "--no-defaults", f"--user={user}", f"--datadir={data}",
            f"--socket={sockets / 'mariadb.sock'}", f"--pid-file={sockets / 'mariadbd.own'}",
            "--bind-address=127.0.0.1", f"--port={port}", "--max-connections=400",
            "--innodb-flush-log-at-trx-commit=2", "--character-set-server=utf8mb4",
        ])  # fmt: skip
        self.processes.wait_for_port("mariadb", port)
        grants = "".join(
            f"CREATE DATABASE IF NOT EXISTS {name};"
            f"GRANT ALL ON {name}.* TO lab@localhost IDENTIFIED BY '{SECRET}';"
            f"GRANT ALL ON {name}.* TO lab@'127.0.0.1' IDENTIFIED BY '{SECRET}';"
            for name in DATABASES
        )
        client = ["mariadb", "--no-defaults", "-uroot", "-S", str(sockets / "mariadb.sock")]
        self._run("mariadb-grants", [*client, "-e", grants])

    def sql(self, text: str) -> str:
        """Run statements as MariaDB's root, and return what they print."""
        socket = self.settings.folder / "run" / "mariadb.sock"
        client = ["mariadb", "--no-defaults", "-uroot", "-S", str(socket)]
        return self._run("mariadb", [*client, "-e", text])

    def add_database(self, name: str) -> str:
        """Create an empty database that the lab's account may use, and return its URL."""
        grant = f"GRANT ALL ON {name}.* TO lab"
        self.sql(
            f"CREATE DATABASE {name}; {grant}@localhost IDENTIFIED BY '{SECRET}';"
            f"{grant}@'127.0.0.1' IDENTIFIED BY '{SECRET}';"
        )
        return configuration.database(self.settings, name)

    def remove_database(self, name: str) -> None:
        """Drop a database."""
        self.sql(f"DROP DATABASE IF EXISTS {name}")

    def _rabbit_env(self) -> dict[str, str]:
        home, ports = self.settings.folder / "rabbitmq", self.settings.ports
        home.mkdir(parents=True, exist_ok=True)
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "HOME": str(home),
            "RABBITMQ_NODENAME": "lab@localhost",
            "RABBITMQ_NODE_PORT": str(ports["amqp"]),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(ports["amqp_dist"]),
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._etc / "rabbitmq"),
            "RABBITMQ_SERVER_START_ARGS": loopback,
            "RABBITMQ_CTL_ERL_ARGS": loopback,
        }

    def _rabbitmqctl(self, *words: str, check: bool = True) -> str:
        command = [str(packages.RABBIT / "rabbitmqctl"), "-q", "-n", "lab@localhost", *words]
        return self._run("rabbitmqctl", command, env=self._rabbit_env(), check=check)

    def _broker(self) -> None:
        env = self._rabbit_env()
        (self.settings.folder / "rabbitmq" / "enabled_plugins").write_text("[].\n")
        self.processes.start("rabbitmq", [str(packages.RABBIT / "rabbitmq-server")], env)
        self.processes.wait_for_port("rabbitmq", self.settings.ports["amqp"])
        self._rabbitmqctl("await_startup")
        if "nova" not in self._rabbitmqctl("list_users"):
            self._rabbitmqctl("add_user", "nova", SECRET)
        for vhost in ("core", "edge"):
            self.add_vhost(vhost)

    def add_vhost(self, name: str) -> str:
        """Create a vhost that Nova's account may use, and return its URL."""
        if name not in self._rabbitmqctl("list_vhosts").split():
            self._rabbitmqctl("add_vhost", name)
            self._rabbitmqctl("set_permissions", "-p", name, "nova", ".*", ".*", ".*")
        return configuration.broker(self.settings, name)

    def remove_vhost(self, name: str) -> None:
        """Delete a vhost."""
        self._rabbitmqctl("delete_vhost", name, check=False)

    # --- OpenStack --------------------------------------------------------------------------------

    def _keystone(self) -> None:
        self._once("keystone", self._make_keystone)
        env = {"OS_KEYSTONE_CONFIG_FILES": str(self._etc / "keystone.conf")}
        self._serve("keystone", "keystone.wsgi.api", env=env)

    def _make_keystone(self) -> None:
        for name in ("fernet", "receipts", "credential"):
            path = self.settings.folder / "keystone" / name
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
        conf = ["--config-file", str(self._etc / "keystone.conf")]
        owner = ["--keystone-user", _user(), "--keystone-group", _user()]
        urls = [
            word
            for kind in ("admin", "internal", "public")
            for word in (f"--bootstrap-{kind}-url", f"{self.settings.url('keystone')}/v3")
        ]
        for words in (
            ["fernet_setup", *owner],
            ["credential_setup", *owner],
            ["db_sync"],
            [
                "bootstrap",
                "--bootstrap-password",
                SECRET,
                "--bootstrap-region-id",
                "RegionOne",
                *urls,
            ],
        ):
            self._run("keystone-make", [self.settings.bin("keystone-manage"), *conf, *words])

    def _placement_and_glance(self) -> None:
        for name in ("images", "staging", "tasks"):
            (self.settings.folder / "glance" / name).mkdir(parents=True, exist_ok=True)
        for name, program, words in (
            ("placement", "placement-manage", ["db", "sync"]),
            ("glance", "glance-manage", ["db_sync"]),
        ):
            file = "glance-api.conf" if name == "glance" else "placement.conf"
            command = [self.settings.bin(program), "--config-file", str(self._etc / file), *words]
            self._once(name, partial(self._run, f"{name}-make", command))
        folder = str(self._etc)
        self._serve("placement", "placement.wsgi.api", env={"OS_PLACEMENT_CONFIG_DIR": folder})
        self._serve("glance", "glance.wsgi.api", env={"OS_GLANCE_CONFIG_DIR": folder})
        port = self.settings.ports["neutron"]
        python = self.settings.bin("python")
        self.processes.start("neutron", [python, str(HERE / "run_neutron.py"), str(port)])
        self.processes.wait_for_port("neutron", port)

    def _nova(self) -> None:
        self._once("nova", self._make_nova)
        conf = ["--config-file", str(self._etc / "nova.conf")]
        for name in ("nova-conductor", "nova-scheduler"):
            self.processes.start(name, [self.settings.bin(name), *conf])
        for host in self.settings.computes:
            node_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, host))
            (self.settings.folder / "nova" / host / "compute_id").write_text(node_id)
            own = ["--config-file", str(self._etc / f"compute-{host}.conf")]
            run = [self.settings.bin("python"), str(HERE / "run_compute.py"), host, node_id]
            self.processes.start(f"nova-compute-{host}", [*run, *conf, *own])
        paste = self.settings.venv / "etc" / "nova" / "api-paste.ini"
        shutil.copy(paste, self._etc)
        self._serve("nova-api", "nova.wsgi.osapi_compute", port="nova", threads=8, env={
            "OS_NOVA_CONFIG_DIR": str(self._etc),
            "OS_NOVA_CONFIG_FILES": "api-paste.ini;nova.conf;nova-api.conf",
        })  # fmt: skip

    def _make_nova(self) -> None:
        manage = [self.settings.bin("nova-manage"), "--config-file", str(self._etc / "nova.conf")]
        cell0 = configuration.database(self.settings, "nova_cell0")
        cell1 = configuration.database(self.settings, "nova_cell1")
        core = configuration.broker(self.settings, "core")
        self._run("nova-make", [*manage, "api_db", "sync"])
        self._run("nova-make", [*manage, "cell_v2", "map_cell0", "--database_connection", cell0])
        if " cell1 " not in self._run("nova-make", [*manage, "cell_v2", "list_cells"]):
            # A literal URL, not a template: nova-api would fill a template with its own
            # transport_url.
            cell = ["--name", "cell1", "--database_connection", cell1, "--transport-url", core]
            self._run("nova-make", [*manage, "cell_v2", "create_cell", *cell])
        self._run("nova-make", [*manage, "db", "sync"])

    def _seed(self, what: str) -> None:
        names = {f"LAB_{name.upper()}_URL": self.settings.url(name) for name in SERVICES}
        env = {
            **self.client_env(),
            **names,
            "LAB_COMPUTE_COUNT": str(len(self.settings.computes)),
            "LAB_FOLDER": str(self.settings.folder),
        }
        self._run(
            f"seed-{what}", [self.settings.bin("python"), str(HERE / "seed.py"), what], env=env
        )

    # --- how a step is done -----------------------------------------------------------------------

    def _serve(
        self,
        name: str,
        module: str,
        *,
        env: Mapping[str, str],
        port: str | None = None,
        threads: int = 4,
    ) -> None:
        number = self.settings.ports[port or name]
        run = [self.settings.bin("python"), str(HERE / "run_wsgi.py"), module]
        self.processes.start(name, [*run, str(number), str(threads)], env)
        self.processes.wait_for_port(name, number)

    def _once(self, name: str, work: Callable[[], object]) -> None:
        done = self.settings.folder / "run" / f"{name}.done"
        if not done.exists():
            work()
            done.touch()

    def _run(
        self,
        name: str,
        command: list[str],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> str:
        """Run a command to its end and return what it printed. Raises RuntimeError with its log."""
        with self.processes.log(name).open("ab") as log:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={
                    **os.environ,
                    "PATH": packages.search_path(),
                    "PYTHONWARNINGS": "ignore",
                    **(env or {}),
                },
                check=False,
            )
            log.write(done.stdout)
        if check and done.returncode != 0:
            shown = " ".join(command[:6])
            raise RuntimeError(
                f"`{shown} ...` ended with {done.returncode}; the end of "
                f"{self.processes.log(name)}:\n{self.processes.tail(name)}"
            )
        return done.stdout.decode(errors="replace")


def _found(program: str) -> str:
    found = shutil.which(program, path=packages.search_path())
    if found is None:
        raise RuntimeError(f"{program} is not installed")
    return found


def _user() -> str:
    return getpass.getuser()
