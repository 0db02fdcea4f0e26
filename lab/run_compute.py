"""Runs nova-compute with the fake driver, able to restart: run_compute.py HOST ID [OPTION...].

The fake driver invents the id of its node anew in each process, and Nova then refuses the host as a
duplicate. It asks oslo.utils for that id by a name, under which we put one that stays.
"""

import sys

from nova.cmd import compute
from oslo_utils.fixture import uuidsentinel

host, node_id = sys.argv[1], sys.argv[2]
sys.argv[:] = ["nova-compute", *sys.argv[3:]]
setattr(uuidsentinel, f"node_{host}", node_id)
sys.exit(compute.main())
