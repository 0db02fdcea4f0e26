"""`synergy quota show`"""

import argparse
from typing import Any

from cliff.show import ShowOne

from synergy.cli.client import client_of
from synergy.cli.render import cell, pairs


class ShowQuota(ShowOne):
    """Show what the cloud has, what is shared, and what each managed project holds."""

    def take_action(self, parsed: argparse.Namespace) -> Any:
        shown = client_of(self).get("/quotas")["quota"]
        lines = [
            f"{p['name']}: private {cell(p['private_used'])} of {cell(p['private'])}; "
            f"shared {cell(p['shared_used'])}"
            for p in shown["projects"]
        ]
        return pairs(shown | {"projects": "\n".join(lines)})
