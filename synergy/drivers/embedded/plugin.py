"""Opens an embedded cloud for the service: the entry point `embedded` of `synergy.clouds`."""

import random
import time
from pathlib import Path

from oslo_config import cfg

from synergy.core.errors import ConfigurationInvalid, InvalidInput
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.notices import EmbeddedNotices
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import read_spec
from synergy.ports import Clock, Cloud

OPTIONS = (
    cfg.StrOpt(
        "cloud_file",
        default="embedded-cloud.yaml",
        help="YAML file that lists the hosts, flavors and projects of the embedded cloud. A "
        "relative path is looked up beside the configuration file, then in the current folder.",
    ),
    cfg.IntOpt(
        "seed",
        help="Seed of the random ids and tokens that the cloud generates. Without one they differ "
        "at each start, so no new server gets the id of a server of an earlier start.",
    ),
)
GROUP = "embedded"
SIMULATED = True  # nothing real can be harmed, so the API may run without Keystone


def open_cloud(conf: cfg.ConfigOpts, clock: Clock) -> Cloud:
    """Return the ports of a fresh embedded cloud by name. Raises ConfigurationInvalid."""
    group = conf[GROUP]
    path = Path(conf.find_file(group.cloud_file) or group.cloud_file)
    try:
        spec = read_spec(path)
    except InvalidInput as error:
        raise ConfigurationInvalid([f"[embedded] cloud_file: {error}"]) from error
    rng = random.Random(group.seed)
    identity = EmbeddedIdentity(spec, clock, rng)
    nova = EmbeddedNova(spec, clock, identity, rng, pause=time.sleep)
    ports = {
        "intake": nova,
        "conductor": nova,
        "changes": nova.changes,
        "compute": nova,
        "notices": EmbeddedNotices(nova),
        "identity": identity,
        "cloud_user": nova,
        "edge": nova,
        "outages": nova,
    }
    return Cloud(ports=ports)
