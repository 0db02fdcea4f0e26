"""What the service imports before it starts, and so how soon it does."""

import json
import subprocess
import sys


def imported_by(module: str) -> set[str]:
    """Return the packages that a new interpreter has once it imported a module."""
    code = (
        f"import json, sys\nimport {module}\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return set(found)


def test_the_service_starts_without_what_only_upgrades_plots_and_clients_need() -> None:
    # mako and pygments are what alembic brings: a fifth of the time that all imports take.
    needless = {"alembic", "mako", "pygments", "matplotlib", "rich", "openstack", "novaclient"}
    assert imported_by("synergy.service.main") & needless == set()
