"""`priority compute`: the rows of `sprio -l` for the jobs of a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from synergy.calc import document, fairshare, slurm_text
from synergy.calc.document import Accounts, Method
from synergy.core import priority
from synergy.core.errors import InvalidInput
from synergy.core.fairshare import Algorithm
from synergy.core.numbers import integer, number, shown
from synergy.core.priority import Terms, Weights

# Keys of a file besides those of the tree.
KEYS: Final = frozenset({
    "cluster", "qos", "max_qos_priority", "max_association_priority", "max_partition_factor",
    "calc_time", "sprio_weights", "jobs",
})  # fmt: skip
COLUMNS: Final = (
    "job", "account", "user", "partition", "priority", "site_factor", "age", "assoc", "fairshare",
    "jobsize", "partition_prio", "qos", "nice", "tres",
)  # fmt: skip
# As in sprio -l, which calls two columns PARTITION.
SPRIO: Final = (
    "JOBID", "PARTITION", "USER", "ACCOUNT", "PRIORITY", "SITE", "AGE", "ASSOC", "FAIRSHARE",
    "JOBSIZE", "PARTITION_PRIO", "QOS", "NICE", "TRES",
)  # fmt: skip
_CLUSTER_KEYS: Final = frozenset({"nodes", "cpus", "node_lines", "partitions"})
_PARTITION_KEYS: Final = frozenset(
    {"priority_job_factor", "nodes", "cpus", "tres", "max_time", "tres_billing_weights"}
)
_JOB_KEYS: Final = frozenset({
    "job", "account", "user", "submit_time", "eligible_time", "accrue_time", "requested",
    "num_cpus", "num_nodes", "tres", "time_limit", "qos", "qos_priority", "partition", "nice",
    "site_factor", "held", "reason", "association_priority_own", "fairshare_factor_sshare",
    "user_raw_shares", "priority", "weighted", "sprio_l", "sprio_n_l",
})  # fmt: skip
_REQUESTED_KEYS: Final = frozenset(
    {"cpus", "min_nodes", "mem_per_node_mb", "minutes", "gres_per_node"}
)
_TRES_ORDER: Final = ("cpu", "mem", "energy", "node", "billing")  # Slurm's numbers 1 to 5
_MAX: Final = 2**31 - 1
_LATEST: Final = 253402300799  # the last second of the year 9999


@dataclass(frozen=True, kw_only=True)
class _Partition:
    factor: float
    tres: Mapping[str, float]
    max_time_s: float


@dataclass(frozen=True, kw_only=True)
class _Cluster:
    nodes: int
    cpus: int
    partitions: Mapping[str, _Partition]


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """The settings that are not weights; with a `highest_*` of None that factor is not
    normalised."""

    max_age_s: float
    favor_small: bool
    size_by_time: bool
    highest_association: float | None
    highest_partition: float | None
    highest_qos: float | None
    normal_tres: bool


def compute(
    data: Mapping[str, object], accounts: Accounts, method: Method
) -> list[dict[str, object]]:
    """Return a row for each job of a file, by COLUMNS; a held job has no terms.

    Raises InvalidInput naming the job.
    """
    config, cluster = document.config_of(data), _cluster(data)
    qos = _qos(data)
    standing = _association_priorities(accounts)
    weights, scale = _weights(config), _scale(config, data, cluster, qos, standing)
    calc_time = number(data.get("calc_time"), "calc_time", lowest=0, highest=_LATEST)
    factors = _job_factors(accounts, method)
    leaf = {
        (entry["account"], entry["user"]): place
        for place, entry in enumerate(accounts.entries)
        if entry["user"] is not None
    }
    rows = []
    for place, job in enumerate(_list(data, "jobs")):
        what = _checked(job, place)
        at = leaf.get((job["account"], job["user"]))
        if at is None:
            raise InvalidInput(
                f"{what}: user {job['user']!r} of account {job['account']!r} is not in the tree"
            )
        partition = cluster.partitions.get(job["partition"])
        if partition is None:
            raise InvalidInput(f"{what}: partition {job['partition']!r} is not in the cluster")
        job_qos = _qos_of(job, qos, what)
        terms = _terms(
            job,
            what,
            cluster,
            partition,
            weights,
            scale,
            calc_time=calc_time,
            association=standing[at],
            fairshare=factors[at],
            qos=job_qos,
        )
        rows.append(_row(job, terms, held=slurm_text.yes(job.get("held", False), f"{what}: held")))
    return rows


def sprio_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row as `sprio -l` prints it: weighted terms, rounded."""
    terms = ("age", "assoc", "fairshare", "jobsize", "partition_prio", "qos")
    tres = row["tres"] or {}
    return (
        str(row["job"]),
        row["partition"],
        row["user"],
        row["account"],
        str(row["priority"]),
        str(row["site_factor"]),
        *("" if row[name] is None else f"{row[name]:.0f}" for name in terms),
        str(row["nice"]),
        ",".join(f"{name}={value:.0f}" for name, value in tres.items()),
    )


def _row(job: Mapping[str, object], terms: Terms, *, held: bool) -> dict[str, object]:
    weighted: dict[str, object] = {
        "age": terms.age,
        "assoc": terms.association,
        "fairshare": terms.fairshare,
        "jobsize": terms.size,
        "partition_prio": terms.partition,
        "qos": terms.qos,
        "tres": dict(terms.tres),
    }
    return {
        "job": job["job"],
        "account": job["account"],
        "user": job["user"],
        "partition": job["partition"],
        "priority": 0 if held else int(priority.total(terms)),
        "site_factor": int(terms.site),
        "nice": int(terms.nice),
        **{name: None if held else term for name, term in weighted.items()},
    }


def _terms(
    job: Mapping[str, object],
    what: str,
    cluster: _Cluster,
    partition: _Partition,
    weights: Weights,
    scale: _Scale,
    *,
    calc_time: float,
    association: float,
    fairshare: float,
    qos: float,
) -> Terms:
    accrued = job.get("accrue_time")
    age_s = 0.0
    if accrued is not None:
        age_s = calc_time - number(accrued, f"{what}: accrue_time", lowest=0, highest=_LATEST)
    amounts = slurm_text.tres(job.get("tres", ""), f"{what}: tres")
    return Terms(
        age=weights.age * priority.age_factor(age_s, scale.max_age_s),
        association=weights.association * _points(association, scale.highest_association),
        fairshare=weights.fairshare * fairshare,
        size=weights.size * _size(job, what, cluster, partition, scale),
        partition=weights.partition * _points(partition.factor, scale.highest_partition),
        qos=weights.qos * _points(qos, scale.highest_qos),
        tres={
            name: weight
            * float(
                priority.tres_factor(
                    np.array(amounts.get(name, 0.0)),
                    partition.tres.get(name, 0.0),
                    normalised=scale.normal_tres,
                )
            )
            for name, weight in weights.tres.items()
        },
        site=float(_adjustment(job, "site_factor", what)),
        nice=float(_adjustment(job, "nice", what)),
    )


def _adjustment(job: Mapping[str, object], key: str, what: str) -> int:
    """Return a term that is added or subtracted without a weight; null is 0."""
    given = job.get(key)
    return 0 if given is None else integer(given, f"{what}: {key}", lowest=-_MAX, highest=_MAX)


def _points(points: float, highest: float | None) -> float:
    return float(priority.points_factor(points, highest))


def _size(
    job: Mapping[str, object], what: str, cluster: _Cluster, partition: _Partition, scale: _Scale
) -> float:
    cpus = integer(job.get("num_cpus"), f"{what}: num_cpus", lowest=0, highest=_MAX)
    nodes = _nodes(job, what)
    if not scale.size_by_time:
        kinds = [(nodes, cluster.nodes), *([(cpus, cluster.cpus)] if cpus else [])]
        requested_amounts, whole = np.array(kinds, dtype=np.float64).T
        return float(
            priority.size_factor(requested_amounts[None], whole, favor_small=scale.favor_small)[0]
        )
    lifetime_s = slurm_text.seconds(job.get("time_limit", "UNLIMITED"), f"{what}: time_limit")
    if lifetime_s >= slurm_text.UNLIMITED_S:
        lifetime_s = partition.max_time_s
    as_cpus = max(nodes * float(cluster.cpus) / cluster.nodes, float(cpus))
    return float(
        priority.size_by_time_factor(
            as_cpus, float(cluster.cpus), lifetime_s, favor_small=scale.favor_small
        )
    )


def _nodes(job: Mapping[str, object], what: str) -> int:
    """Return the minimum number of nodes of a job: num_nodes is "2" or "2-4"."""
    requested = job.get("requested")
    if requested is not None:
        if not isinstance(requested, dict):
            raise InvalidInput(f"{what}: requested is {shown(requested)}, but must be an object")
        slurm_text.known_keys(requested, _REQUESTED_KEYS, f"{what}: requested")
        if requested.get("min_nodes") is not None:
            return integer(requested["min_nodes"], f"{what}: min_nodes", lowest=0, highest=_MAX)
    given = job.get("num_nodes", 1)
    fewest = given.partition("-")[0] if isinstance(given, str) else given
    return integer(fewest, f"{what}: num_nodes", lowest=0, highest=_MAX)


# --- settings -------------------------------------------------------------------------------------


def _weights(config: Mapping[str, Any]) -> Weights:
    def weight(name: str) -> float:
        return float(config.get(f"PriorityWeight{name}", 0))

    tres: Mapping[str, float] = config.get("PriorityWeightTRES", {})
    order = {name: number for number, name in enumerate(_TRES_ORDER)}
    return Weights(
        age=weight("Age"),
        association=weight("Assoc"),
        fairshare=weight("Fairshare"),
        size=weight("JobSize"),
        partition=weight("Partition"),
        qos=weight("QOS"),
        tres=dict(sorted(tres.items(), key=lambda item: (order.get(item[0], 99), item[0]))),
    )


def _scale(
    config: Mapping[str, Any],
    data: Mapping[str, object],
    cluster: _Cluster,
    qos: Mapping[str, float],
    standing: list[float],
) -> _Scale:
    flags: frozenset[str] = config.get("PriorityFlags", frozenset())

    def highest(flag: str, key: str, values: list[float]) -> float | None:
        if flag in flags or "NO_NORMAL_ALL" in flags:
            return None
        given = data.get(key)
        found = max(values, default=0.0)
        return found if given is None else _points_of(given, key)

    partitions = [partition.factor for partition in cluster.partitions.values()]
    return _Scale(
        max_age_s=config.get("PriorityMaxAge", 7 * 86_400.0),
        favor_small=config.get("PriorityFavorSmall", False),
        size_by_time="SMALL_RELATIVE_TO_TIME" in flags,
        highest_association=highest("NO_NORMAL_ASSOC", "max_association_priority", standing),
        highest_partition=highest("NO_NORMAL_PART", "max_partition_factor", partitions),
        highest_qos=highest("NO_NORMAL_QOS", "max_qos_priority", list(qos.values())),
        normal_tres=not flags & {"NO_NORMAL_TRES", "NO_NORMAL_ALL"},
    )


def _cluster(data: Mapping[str, object]) -> _Cluster:
    cluster = data.get("cluster")
    if not isinstance(cluster, dict):
        raise InvalidInput("cluster is missing: an object with nodes, cpus and partitions")
    slurm_text.known_keys(cluster, _CLUSTER_KEYS, "cluster")
    partitions = cluster.get("partitions")
    if not isinstance(partitions, dict) or not partitions:
        raise InvalidInput("cluster: partitions must be an object with at least one partition")
    return _Cluster(
        nodes=integer(cluster.get("nodes"), "cluster: nodes", lowest=1, highest=_MAX),
        cpus=integer(cluster.get("cpus"), "cluster: cpus", lowest=1, highest=_MAX),
        partitions={name: _partition(name, part) for name, part in partitions.items()},
    )


def _partition(name: str, partition: object) -> _Partition:
    what = f"partition {name!r}"
    if not isinstance(partition, dict):
        raise InvalidInput(f"{what} must be an object")
    slurm_text.known_keys(partition, _PARTITION_KEYS, what)
    factor = partition.get("priority_job_factor", 1)
    return _Partition(
        factor=_points_of(factor, f"{what}: priority_job_factor"),
        tres=slurm_text.tres(partition.get("tres", ""), f"{what}: tres"),
        max_time_s=slurm_text.seconds(partition.get("max_time", "UNLIMITED"), f"{what}: max_time"),
    )


def _qos(data: Mapping[str, object]) -> dict[str, float]:
    qos = data.get("qos", {})
    if not isinstance(qos, dict):
        raise InvalidInput("qos must be an object: a priority for each name")
    return {name: _points_of(points, f"qos {shown(name)}") for name, points in qos.items()}


def _qos_of(job: Mapping[str, object], qos: Mapping[str, float], what: str) -> float:
    if job.get("qos_priority") is not None:
        return _points_of(job["qos_priority"], f"{what}: qos_priority")
    name = job.get("qos")
    if name is None:
        return 0.0
    if not isinstance(name, str) or name not in qos:
        raise InvalidInput(f"{what}: qos {shown(name)} is not one of {', '.join(sorted(qos))}")
    return qos[name]


def _points_of(given: object, what: str) -> float:
    """Parse a priority as Slurm stores it, as an integer, so that no ratio of two overflows."""
    return float(integer(given, what, lowest=0, highest=slurm_text.MAX_POINTS))


# --- associations ---------------------------------------------------------------------------------


def _association_priorities(accounts: Accounts) -> list[float]:
    """Return each entry's priority, or that of the nearest account above that has one."""
    tree, row = accounts.tree, accounts.row
    own = [
        None
        if entry.get("priority") is None
        else _points_of(entry["priority"], f"id {entry['id']}: priority")
        for entry in accounts.entries
    ]
    by_row = np.full(len(tree), np.nan)
    by_row[row] = [np.nan if value is None else value for value in own]
    if np.isnan(by_row[0]):
        by_row[0] = 0.0
    for depth in tree.depths[1:]:
        above = by_row[tree.parent[depth]]
        by_row[depth] = np.where(np.isnan(by_row[depth]), above, by_row[depth])
    return [float(value) for value in by_row[row]]


def _job_factors(accounts: Accounts, method: Method) -> list[float]:
    """Return each entry's fair-share factor for its jobs.

    Classic: a job of a user with `parent` shares gets the factor of the fair-share parent; if that
    is the root, the factor of a node that used exactly its share. Slurm 22.05 does so; later
    versions use the user's own factor.
    """
    computed = fairshare.compute(accounts, method).computed.fairshare
    if method.algorithm is not Algorithm.FAIR_TREE:
        tree = accounts.tree
        computed = np.where(tree.inherits, computed[np.maximum(tree.share_parent, 0)], computed)
    return [float(value) for value in computed[accounts.row]]


# --- jobs -----------------------------------------------------------------------------------------


def _list(data: Mapping[str, object], key: str) -> list[Any]:
    found = data.get(key)
    if not isinstance(found, list):
        raise InvalidInput(f"{key} must be a list")
    return found


def _checked(job: object, place: int) -> str:
    """Validate the names in a job, and return its name for error messages."""
    if not isinstance(job, dict):
        raise InvalidInput(f"job {place + 1} must be an object")
    if isinstance(job.get("job"), bool) or not isinstance(job.get("job"), int | str):
        raise InvalidInput(f"job {place + 1}: job must be its number or name")
    slurm_text.name(str(job["job"]), f"job {place + 1}: job")
    what = f"job {job['job']!r}"
    slurm_text.known_keys(job, _JOB_KEYS, what)
    for key in ("account", "user", "partition"):
        slurm_text.name(job.get(key), f"{what}: {key}")
    return what
