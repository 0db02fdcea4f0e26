"""`synergy fairshare compute` and `synergy priority compute`: arguments and output only."""

import argparse
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.lister import Lister

from synergy.calc import document, fairshare, priority
from synergy.calc.document import Method
from synergy.core import words
from synergy.core.fairshare import Algorithm
from synergy.core.fairtree import Ties
from synergy.core.usage import HalfLife

LOG = logging.getLogger(__name__)
Table = tuple[Sequence[str], Iterable[Sequence[object]]]


class _Compute(Lister):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Declare the arguments of both calculators."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", help='JSON file; "-" is standard input.')
        parser.add_argument(
            "--algorithm",
            choices=[one.value for one in Algorithm],
            help="Algorithm of the fair-share factors (default: the file's config, "
            "else fair_tree).",
        )
        parser.add_argument(
            "--ties",
            choices=[one.value for one in Ties],
            help="Fair Tree: how to rank sibling accounts with equal level_fs. merge ranks their "
            "children together, as Slurm documents; slurm walks them one by one, as Slurm does "
            "(default: the file's config, else merge).",
        )
        parser.add_argument(
            "--dampening",
            metavar="FACTOR",
            help="Classic: FairShareDampeningFactor (default: the file's config, else 1).",
        )
        return parser


def _method(parsed: argparse.Namespace, data: dict[str, object]) -> Method:
    """Return how to compute; log a note about settings of the file that are ignored."""
    dampening = parsed.dampening
    if dampening is not None:
        dampening = document.dampening_of(dampening, "--dampening")
    config = document.config_of(data)
    ignored = ", ".join(document.ignored_settings(data))
    if ignored:
        LOG.warning("note: these settings do not affect priority and are ignored: %s", ignored)
    return document.method_of(
        config,
        algorithm=parsed.algorithm,
        dampening=dampening,
        ties=parsed.ties,
    )


class ComputeFairShare(_Compute):
    """Compute the fair-share of an account tree, with the numbers of real Slurm.

    The table is that of sshare -l; any other format has a row for each entry of the file, in its
    order, with numbers in full.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Declare the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--explain",
            action="store_true",
            help="Add a column that explains each row in a sentence.",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        """Read, compute and show."""
        data = document.read(parsed.file, more_keys=priority.KEYS)  # the file may also have jobs
        result = fairshare.compute(document.accounts_of(data), _method(parsed, data))
        if parsed.formatter == "table":
            shown: list[Any] = list(result.sshare())
            header: Sequence[str] = fairshare.SSHARE
        else:
            shown = [tuple(row[name] for name in fairshare.COLUMNS) for row in result.rows()]
            header = fairshare.COLUMNS
        if not parsed.explain:
            return header, shown
        why = _reasons(result, data)
        return (*header, "why"), [(*row, text) for row, text in zip(shown, why, strict=True)]


def _reasons(result: fairshare.Result, data: dict[str, object]) -> list[str]:
    tree, row = result.accounts.tree, result.accounts.row
    half_life_s = document.config_of(data).get("PriorityDecayHalfLife", 0.0)
    decay = HalfLife(half_life_s=half_life_s)
    names = [""] * len(tree)
    for place, entry in enumerate(result.accounts.entries):
        names[row[place]] = entry["user"] or f"account {entry['account']}"
    window = words.window(decay)
    return [words.standing(tree, result.computed, int(at), names, window) for at in row]


class ComputePriority(_Compute):
    """Compute the priorities of jobs, with the numbers of real Slurm.

    The table is that of sprio -l; any other format has a row for each job of the file, in its
    order, with every weighted term in full.
    """

    def take_action(self, parsed: argparse.Namespace) -> Table:
        """Read, compute and show."""
        data = document.read(parsed.file, more_keys=priority.KEYS)
        rows = priority.compute(data, document.accounts_of(data), _method(parsed, data))
        if parsed.formatter == "table":
            return priority.SPRIO, [priority.sprio_row(row) for row in rows]
        return priority.COLUMNS, [tuple(row[name] for name in priority.COLUMNS) for row in rows]
