"""Runs nova-compute with the fake driver, able to restart: run_compute.py HOST ID [OPTION...].

The fake driver generates a new node id in each process, and after a restart Nova refuses the host
as a duplicate. It gets that id from a uuidsentinel of oslo.utils by name, so we set a fixed one
there.
"""

import sys

from nova.cmd import compute
from oslo_utils.fixture import uuidsentinel

host, node_id = sys.argv[1], sys.argv[2]
sys.argv[:] = ["nova-compute", *sys.argv[3:]]
setattr(uuidsentinel, f"node_{host}", node_id)
sys.exit(compute.main())
