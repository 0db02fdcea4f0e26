"""`synergy fairshare compute` and `synergy priority compute`, as a user meets them."""

import copy
import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.calc import document, slurm_text
from synergy.cli.main import main
from synergy.core.errors import InvalidInput
from tests.golden.recordings import read, recordings

TREE: list[dict[str, Any]] = [
    {"id": 1, "account": "root", "user": None, "parent": None, "raw_shares": None},
    {"id": 2, "account": "a", "user": None, "parent": "root", "raw_shares": 3},
    {"id": 3, "account": "a", "user": "u", "parent": "a", "raw_shares": 1, "raw_usage": "90.5"},
    {"id": 4, "account": "b", "user": None, "parent": "root", "raw_shares": 1},
    {"id": 5, "account": "b", "user": "v", "parent": "b", "raw_shares": "parent", "raw_usage": 10},
]
JOB = {"job": 7, "account": "a", "user": "u", "partition": "main", "num_cpus": 64,
       "tres": "cpu=64,mem=1G", "accrue_time": 400, "qos": "high", "nice": -5}  # fmt: skip
JOBS: dict[str, Any] = {
    "config": {"PriorityWeightFairshare": 1000, "PriorityWeightAge": 600, "PriorityMaxAge": "10",
               "PriorityWeightQOS": 100, "PriorityWeightTRES": "CPU=100,Mem=50",
               "PriorityWeightJobSize": 20, "PriorityWeightPartition": 9},
    "cluster": {"nodes": 10, "cpus": 640, "partitions": {
        "main": {"priority_job_factor": 1, "tres": "cpu=640,mem=4G"},
        "other": {"priority_job_factor": 3}}},
    "qos": {"normal": 0, "high": 50},
    "calc_time": 700,
    "tree": TREE,
    "jobs": [JOB, {**JOB, "job": 8, "held": True}],
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("no_handlers_of_other_tests")


@pytest.fixture
def compute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a calculator on a document; return exit code, output and errors."""

    def run(kind: str, document: bytes | dict[str, Any], *options: str) -> tuple[int, str, str]:
        path = tmp_path / "input.json"
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        path.write_bytes(data)
        code = main([kind, "compute", str(path), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def rows(answer: tuple[int, str, str]) -> Any:
    code, out, err = answer
    assert (code, err) == (0, "")
    return json.loads(out)


def test_json_has_a_row_for_each_entry_in_the_order_of_the_file(
    compute: Callable[..., Any],
) -> None:
    found = rows(compute("fairshare", {"tree": TREE[::-1]}, "-f", "json"))
    assert [row["id"] for row in found] == [5, 4, 3, 2, 1]
    assert list(found[0]) == [
        "id", "account", "user", "parent", "raw_shares", "norm_shares", "raw_usage", "norm_usage",
        "effective_usage", "level_fs", "rank", "fairshare",
    ]  # fmt: skip
    by_id = {row["id"]: row for row in found}
    assert by_id[1]["raw_usage"] == 100.5
    assert (by_id[3]["rank"], by_id[3]["fairshare"]) == (1, 0.5)
    assert (by_id[5]["rank"], by_id[5]["fairshare"]) == (2, 1.0)
    assert by_id[5]["level_fs"] is None
    assert by_id[2]["level_fs"] == pytest.approx(0.75 / (90.5 / 100.5))


def test_what_an_account_used_beyond_its_users_was_left_by_removed_ones(
    compute: Callable[..., Any],
) -> None:
    found = rows(compute("fairshare", entry(1, raw_usage="100.5"), "-f", "json"))
    assert [row["raw_usage"] for row in found] == [110.5, 100.5, 90.5, 10.0, 10.0]
    same = rows(compute("fairshare", entry(1, own_usage=10), "-f", "json"))
    assert [row["raw_usage"] for row in same] == [110.5, 100.5, 90.5, 10.0, 10.0]


def test_an_infinite_level_fs_is_inf_in_json(compute: Callable[..., Any]) -> None:
    idle = [*TREE[:3], TREE[3], {**TREE[4], "raw_shares": 1, "raw_usage": 0}]
    found = rows(compute("fairshare", {"tree": idle}, "-f", "json"))
    assert [row["level_fs"] for row in found] == [None, 0.75, 1.0, "inf", "inf"]


def test_the_table_is_that_of_sshare(compute: Callable[..., Any]) -> None:
    _, out, _ = compute("fairshare", {"tree": TREE})
    header = [cell.strip() for cell in out.splitlines()[1].strip("|").split("|")]
    assert header == ["Account", "User", "RawShares", "NormShares", "RawUsage", "NormUsage",
                      "EffectvUsage", "FairShare", "LevelFS"]  # fmt: skip
    assert "|   a     | u    | 1         | 1.000000   | 90       | 0.900498" in out


def test_options_go_before_the_files_settings_and_these_before_the_defaults(
    compute: Callable[..., Any],
) -> None:
    tree = read(recordings("fairshare", "tiny_tied_accounts_different_users__ft")[0])["tree"]

    def ranks(config: dict[str, Any], *options: str) -> list[float]:
        found = rows(compute("fairshare", {"config": config, "tree": tree}, "-f", "json", *options))
        return [row["fairshare"] for row in found if row["user"]]

    merged, walked = ranks({}), ranks({"ties": "slurm"})
    assert merged != walked
    assert ranks({"ties": "slurm"}, "--ties", "merge") == merged
    classic = ranks({"PriorityFlags": "NO_FAIR_TREE"})
    assert classic == ranks({}, "--algorithm", "classic") == ranks({"algorithm": "classic"})
    damped = ranks({"algorithm": "classic", "FairShareDampeningFactor": 3})
    assert damped == ranks({}, "--algorithm", "classic", "--dampening", "3") != classic
    flags = {"PriorityFlags": "NO_FAIR_TREE,DEPTH_OBLIVIOUS"}
    assert ranks(flags) == ranks({}, "--algorithm", "classic_depth_oblivious")


def test_reasons_are_told_in_words_when_asked_for(compute: Callable[..., Any]) -> None:
    document = {"config": {"PriorityDecayHalfLife": "7-0"}, "tree": TREE}
    found = rows(compute("fairshare", document, "-f", "json", "--explain"))
    assert [row["why"] for row in found] == [
        "the whole cloud: every share and all usage",
        "account a used 1.2 times its share in the last 7 days",
        (
            "you used just about your share in the last 7 days; account a used 1.2 times its share "
            "in the last 7 days; 1 of 2 users goes before you"
        ),
        "account b used 0.4 times its share in the last 7 days",
        (
            "you have no shares of your own, and share those of the account; nobody of 2 users goes "
            "before you"
        ),
    ]


@pytest.mark.parametrize("output", ["csv", "yaml", "value"])
def test_other_formats_have_the_same_rows(compute: Callable[..., Any], output: str) -> None:
    code, out, _ = compute("fairshare", {"tree": TREE}, "-f", output, "-c", "id", "-c", "fairshare")
    assert code == 0
    if output == "csv":
        assert list(csv.reader(io.StringIO(out)))[3] == ["3", "0.5"]
    else:
        assert "0.5" in out


def test_standard_input_and_gzip_are_read(
    compute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = compute("fairshare", {"tree": TREE}, "-f", "json")
    packed = gzip.compress(json.dumps({"tree": TREE}).encode())
    assert compute("fairshare", packed, "-f", "json") == plain

    class Stdin:
        buffer = io.BytesIO(packed)

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert main(["fairshare", "compute", "-", "-f", "json"]) == 0
    assert capsys.readouterr().out == plain[1]


def test_the_tree_of_a_file_with_jobs_is_computed_too(compute: Callable[..., Any]) -> None:
    found = rows(compute("fairshare", JOBS, "-f", "json"))
    assert found == rows(compute("fairshare", {"tree": TREE}, "-f", "json"))


def test_priorities_have_a_row_for_each_job_with_every_term(compute: Callable[..., Any]) -> None:
    first, held = rows(compute("priority", JOBS, "-f", "json"))
    assert first == {
        "job": 7, "account": "a", "user": "u", "partition": "main", "priority": 932,
        "site_factor": 0, "age": 300.0, "assoc": 0.0, "fairshare": 500.0, "jobsize": 2.0,
        "partition_prio": 3.0, "qos": 100.0, "nice": -5, "tres": {"cpu": 10.0, "mem": 12.5},
    }  # fmt: skip
    # 300 + 500 + (1/10 + 64/640)/2 * 20 + 9/3 + 100 + 10 + 12.5 + 5, cut off
    assert (held["job"], held["priority"], held["age"]) == (8, 0, None)


def test_the_table_of_priorities_is_that_of_sprio(compute: Callable[..., Any]) -> None:
    _, out, _ = compute("priority", JOBS)
    header = [cell.strip() for cell in out.splitlines()[1].strip("|").split("|")]
    assert header == ["JOBID", "PARTITION", "USER", "ACCOUNT", "PRIORITY", "SITE", "AGE", "ASSOC",
                      "FAIRSHARE", "JOBSIZE", "PARTITION_PRIO", "QOS", "NICE", "TRES"]  # fmt: skip
    assert "cpu=10,mem=12" in out


def entry(place: int, **changes: Any) -> dict[str, Any]:
    """The tree with an entry changed, or without a key where the change is `...`."""
    tree = copy.deepcopy(TREE)
    for key, value in changes.items():
        if value is ...:
            del tree[place][key]
        else:
            tree[place][key] = value
    return {"tree": tree}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"tree": [', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\x1f\x8b broken", "begins like a gzip file, but is broken"),
        (b"[]", 'must hold a JSON object with "tree"'),
        ({}, "tree must be a list with at least the root account"),
        ({"tree": []}, "tree must be a list with at least the root account"),
        ({"tree": [5]}, "tree entry 1 must be an object"),
        ({"tree": TREE, "colour": 1}, "'colour' is not one of calc_time, cluster, config"),
        ({"tree": TREE, "config": {"PriorityFlagz": ""}}, "config: 'PriorityFlagz' is not one of"),
        (b'{"tree": [], "tree": []}', "'tree' appears twice in one object"),
        (gzip.compress(b"{}", mtime=0)[:-3], "begins like a gzip file, but is broken"),
        (
            gzip.compress(bytes(range(256)) * 99, mtime=0)[:200] + b"x" * 99,
            "begins like a gzip file, but",
        ),
        ({"tree": TREE, "config": {"PriorityFlags": "FAST"}}, "PriorityFlags: 'FAST' is not one"),
        ({"tree": TREE, "config": {"algorithm": "lottery"}}, "algorithm is 'lottery', but must be"),
        (
            {"tree": TREE, "config": {"FairShareDampeningFactor": 0}},
            "FairShareDampeningFactor is 0",
        ),
        (entry(2, shares=1), "id 3: 'shares' is not one of account, id, own_usage"),
        (entry(2, id=2), "id 2' appears twice"),
        (entry(2, id=...), "tree entry 3: id must be a number or a text"),
        (entry(2, account=...), "id 3: 'account' is missing"),
        (entry(3, account="a"), "id 4: account 'a' appears already, as id 2"),
        (entry(4, account="a", user="u", parent="a"), "id 5: user 'u' of account 'a' appears"),
        (entry(3, parent="x"), "id 4: its parent 'x' is not an account of the tree"),
        (entry(4, account="u", parent="u"), "id 5: its parent 'u' is a user, not an account"),
        (entry(4, parent="a"), "user 'v' is of account 'b', so its parent cannot be 'a'"),
        (entry(4, parent=None), "user 'v' must have an account as parent"),
        (entry(1, parent="a"), "'id 2' is part of a cycle"),
        (entry(0, parent="b", raw_shares=1), "0 nodes have no parent; there must be exactly 1"),
        (entry(3, parent=None), "2 nodes have no parent; there must be exactly 1"),
        (entry(2, raw_shares=-1), "id 3: raw_shares is -1, but must be a whole number"),
        (entry(2, raw_shares=1.5), "id 3: raw_shares is 1.5"),
        (entry(2, raw_shares=float("nan")), "id 3: raw_shares is nan"),
        (entry(2, raw_shares=2**31), "id 3: raw_shares is 2147483648"),
        (entry(2, raw_shares=...), 'id 3: raw_shares is missing; give a number, or "parent"'),
        (entry(2, raw_usage=-1), "id 3: raw_usage is -1, but must be a number from 0"),
        (entry(2, raw_usage="nan"), "id 3: raw_usage is 'nan'"),
        (entry(2, raw_usage=float("inf")), "id 3: raw_usage is inf"),
        (entry(2, raw_usage="1e999"), "id 3: raw_usage is '1e999'"),
        (entry(2, raw_usage="a lot"), "id 3: raw_usage is 'a lot'"),
        (entry(2, raw_usage="1_0"), "id 3: raw_usage is '1_0'"),
        (entry(2, user="\ud800"), "id 3: user is '\\ud800', but must be a name: printable"),
        (entry(2, user="\x1b[2J"), "id 3: user is '\\x1b[2J', but must be a name: printable"),
        (entry(2, user="x" * 256), "but must be a name: printable, and of at most 255 characters"),
        (entry(1, raw_usage=5), "id 2: raw_usage is 5.0, but what is below it sums up to 90.5"),
    ],
)
def test_a_tree_that_makes_no_sense_ends_with_one_line_that_names_the_entry(
    compute: Callable[..., Any],
    document: bytes | dict[str, Any],
    told: str,
) -> None:
    code, out, err = compute("fairshare", document, "-f", "json")
    assert (code, out) == (1, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def jobs(**changes: Any) -> dict[str, Any]:
    return {**JOBS, "jobs": [{**JOB, **changes}]}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({**JOBS, "jobs": {}}, "jobs must be a list"),
        ({**JOBS, "jobs": [3]}, "job 1 must be an object"),
        ({**JOBS, "cluster": {}}, "partitions must be an object"),
        ({**JOBS, "cluster": {**JOBS["cluster"], "nodes": 0}}, "cluster: nodes is 0, but must be"),
        ({**JOBS, "calc_time": "soon"}, "calc_time is 'soon', but must be a number from 0 to"),
        ({**JOBS, "config": {"PriorityMaxAge": "soon"}}, "PriorityMaxAge is 'soon', but must be"),
        (
            {**JOBS, "config": {"PriorityWeightTRES": "CPU:5"}},
            "PriorityWeightTRES: 'CPU:5' must be",
        ),
        ({**JOBS, "config": {"PriorityWeightAge": -1}}, "PriorityWeightAge is -1, but must be"),
        (jobs(user="v"), "job 7: user 'v' of account 'a' is not in the tree"),
        (jobs(partition="moon"), "job 7: partition 'moon' is not in the cluster"),
        (jobs(qos="best"), "job 7: qos 'best' is not one of high, normal"),
        (jobs(num_cpus="many"), "job 7: num_cpus is 'many', but must be a whole number from 0"),
        (jobs(num_cpus=1.5), "job 7: num_cpus is 1.5, but must be a whole number"),
        (jobs(colour=1), "job 7: 'colour' is not one of"),
        (jobs(nice=2**40), "job 7: nice is 1099511627776, but must be a whole number from"),
        (jobs(job=None), "job 1: job must be its number or name"),
        (jobs(partition=[]), "job 7: partition is [], but must be a name"),
        (jobs(qos=[]), "job 7: qos [] is not one of high, normal"),
        (jobs(nice=[]), "job 7: nice is [], but must be a whole number"),
        (jobs(held="perhaps"), "job 7: held is 'perhaps', but must be YES or NO"),
        (jobs(requested=[]), "job 7: requested is [], but must be an object"),
        (jobs(qos_priority=0.5), "job 7: qos_priority is 0.5, but must be a whole number"),
        (jobs(tres="cpu=" + "9" * 20 + "P"), "job 7: tres: cpu is "),
        ({**JOBS, "max_qos_priority": 1e-308}, "max_qos_priority is 1e-308, but must be a whole"),
    ],
)
def test_jobs_that_make_no_sense_end_with_one_line_that_names_the_job(
    compute: Callable[..., Any], document: dict[str, Any], told: str
) -> None:
    code, out, err = compute("priority", document, "-f", "json")
    assert (code, out) == (1, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1


# Every other key of the slurm.conf of Slurm 22.05: none is taken for a misspelt one of priority.
OTHER_KEYS = """
AccountingStorageBackupHost AccountingStorageEnforce AccountingStorageExternalHost
AccountingStorageHost AccountingStoragePass AccountingStoragePort AccountingStorageTRES
AccountingStorageType AccountingStorageUser AccountingStoreFlags AcctGatherEnergyType
AcctGatherFilesystemType AcctGatherInterconnectType AcctGatherNodeFreq AcctGatherProfileType
AllowSpecResourcesUsage AuthAltParameters AuthAltTypes AuthInfo AuthType BatchStartTimeout
BcastExclude BcastParameters BurstBufferType CliFilterPlugins ClusterName
CommunicationParameters CompleteWait CoreSpecPlugin CpuFreqDef CpuFreqGovernors CredType
DebugFlags DefCpuPerGPU DefMemPerCPU DefMemPerGPU DefMemPerNode DependencyParameters
DisableRootJobs EioTimeout EnforcePartLimits Epilog EpilogMsgTime EpilogSlurmctld
ExtSensorsFreq ExtSensorsType FairShareDampeningFactor FederationParameters FirstJobId
GetEnvTimeout GpuFreqDef GresTypes GroupUpdateForce GroupUpdateTime HealthCheckInterval
HealthCheckNodeState HealthCheckProgram InactiveLimit InteractiveStepOptions JobAcctGatherFrequency
JobAcctGatherParams JobAcctGatherType JobCompHost JobCompLoc JobCompParams JobCompPass JobCompPort
JobCompType JobCompUser JobContainerType JobCredentialPrivateKey JobCredentialPublicCertificate
JobFileAppend JobRequeue JobSubmitPlugins KillOnBadExit KillWait LaunchParameters LaunchType
Licenses LogTimeFormat MailDomain MailProg MaxArraySize MaxDBDMsgs MaxJobCount MaxJobId MaxMemPerCPU
MaxMemPerNode MaxNodeCount MaxStepCount MaxTasksPerNode MCSParameters MCSPlugin MessageTimeout
MinJobAge MpiDefault MpiParams NodeName OverTimeLimit PartitionName PluginDir PlugStackConfig
PowerParameters PowerPlugin PreemptExemptTime PreemptMode PreemptParameters PreemptType
PrEpParameters PrEpPlugins PrivateData ProctrackType Prolog PrologEpilogTimeout PrologFlags
PrologSlurmctld PropagatePrioProcess PropagateResourceLimits PropagateResourceLimitsExcept
RebootProgram ReconfigFlags RequeueExit RequeueExitHold ResumeFailProgram ResumeProgram ResumeRate
ResumeTimeout ResvEpilog ResvOverRun ResvProlog ReturnToService RoutePlugin SchedulerParameters
SchedulerTimeSlice SchedulerType ScronParameters SelectType SelectTypeParameters SlurmctldAddr
SlurmctldDebug SlurmctldHost SlurmctldLogFile SlurmctldParameters SlurmctldPidFile
SlurmctldPlugstack SlurmctldPort SlurmctldPrimaryOffProg SlurmctldPrimaryOnProg
SlurmctldSyslogDebug SlurmctldTimeout SlurmdDebug SlurmdLogFile SlurmdParameters SlurmdPidFile
SlurmdPort SlurmdSpoolDir SlurmdSyslogDebug SlurmdTimeout SlurmdUser SlurmSchedLogFile
SlurmSchedLogLevel SlurmUser SrunEpilog SrunPortRange SrunProlog StateSaveLocation SuspendExcNodes
SuspendExcParts SuspendProgram SuspendRate SuspendTime SuspendTimeout SwitchParameters SwitchType
TaskEpilog TaskPlugin TaskPluginParam TaskProlog TCPTimeout TmpFS TopologyParam TopologyPlugin
TrackWCKey TreeWidth UnkillableStepProgram UnkillableStepTimeout UsePAM VSizeFactor WaitTime
X11Parameters
""".split()  # noqa: SIM905


def test_settings_that_do_not_concern_priority_are_told_in_one_note(
    compute: Callable[..., Any],
) -> None:
    config = dict.fromkeys(OTHER_KEYS, "1")
    code, out, err = compute("priority", {**JOBS, "config": JOBS["config"] | config}, "-f", "json")
    assert code == 0
    assert json.loads(out) == rows(compute("priority", JOBS, "-f", "json"))
    (note,) = err.splitlines()
    assert note.startswith("note: these settings do not affect priority and are ignored: ")
    told = note.partition("ignored: ")[2].split(", ")
    assert told == [key for key in OTHER_KEYS if key != "FairShareDampeningFactor"]


def test_settings_may_be_written_in_letters_of_either_size(compute: Callable[..., Any]) -> None:
    same = {key.lower(): value for key, value in JOBS["config"].items()}
    assert rows(compute("priority", {**JOBS, "config": same}, "-f", "json")) == rows(
        compute("priority", JOBS, "-f", "json")
    )


SETTINGS = sorted(document._SETTINGS.keys() - {"ties"})  # which is too short to be recognised


@given(st.sampled_from(SETTINGS), st.data())
def test_a_setting_with_a_wrong_letter_is_refused_with_the_nearest_right_one(
    key: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("xzq"))
    replaced, added = key[:at] + letter + key[at + 1 :], key[:at] + letter + key[at:]
    typo = data.draw(st.sampled_from([key[:at] + key[at + 1 :], replaced, added]))
    if typo.lower() in {setting.lower() for setting in SETTINGS}:
        return  # such as a letter of a pair left out
    with pytest.raises(InvalidInput) as error:
        document.config_of({"config": {typo: "1"}})
    assert f"config: '{typo}' is not one of the settings of slurm.conf" in str(error.value)
    assert str(error.value).endswith(f"the nearest is {key}")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"PriorityNonsense": 1}, "config: 'PriorityNonsense' is not one of the settings"),
        ({"priorityflags": "", "PriorityFlags": ""}, "config: PriorityFlags appears twice"),
        ({"PriorityCalcPeriod": "soon"}, "PriorityCalcPeriod is 'soon', but must be minutes"),
        ({"PriorityDecayHalfLife": -7}, "PriorityDecayHalfLife is -7, but must be minutes"),
        ({"PriorityMaxAge": "9999999999-0"}, "PriorityMaxAge is '9999999999-0', but must be at"),
        ({"PriorityUsageResetPeriod": "HOURLY"}, "PriorityUsageResetPeriod is 'HOURLY', but must"),
        ({"ties": []}, "ties is [], but must be one of merge, slurm"),
        ({"PriorityWeightAge": 2**32}, "PriorityWeightAge is 4294967296, but must be a whole"),
        ({"PriorityFavorSmall": "perhaps"}, "PriorityFavorSmall is 'perhaps', but must be YES"),
    ],
)
@pytest.mark.parametrize("kind", ["fairshare", "priority"])
def test_a_setting_that_makes_no_sense_is_named_by_both_calculators(
    compute: Callable[..., Any], kind: str, config: dict[str, Any], told: str
) -> None:
    code, out, err = compute(kind, {**JOBS, "config": config}, "-f", "json")
    assert (code, out) == (1, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("value", ["nan", "inf", "0", "65534", "-1", "1_0", "much"])
def test_a_dampening_that_makes_no_sense_ends_with_one_line(
    compute: Callable[..., Any], value: str
) -> None:
    code, out, err = compute("fairshare", {"tree": TREE}, f"--dampening={value}")
    assert (code, out) == (1, "")
    assert err == f"--dampening is '{value}', but must be a number from 1 to 65533\n"


def test_usage_beyond_what_can_be_summed_is_refused_and_less_is_computed(
    compute: Callable[..., Any],
) -> None:
    def with_usage(amount: float) -> dict[str, Any]:
        users = [{**one, "raw_usage": amount} for one in (TREE[2], TREE[4])]
        return {"tree": [*TREE[:2], TREE[3], *users]}

    code, out, err = compute("fairshare", with_usage(1.7e308), "-f", "json")
    assert (code, out) == (1, "")
    assert err == "id 3: raw_usage is 1.7e+308, but must be a number from 0 to 1e+30\n"
    found = rows(compute("fairshare", with_usage(1e30), "-f", "json"))
    assert [row["raw_usage"] for row in found] == [2e30, 1e30, 1e30, 1e30, 1e30]
    assert [row["norm_usage"] for row in found] == [None, 0.5, 0.5, 0.5, 0.5]


def test_a_pipe_is_read_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for packed in (False, True):
        data = json.dumps({"tree": TREE}).encode()
        reader, writer = os.pipe()
        os.write(writer, gzip.compress(data) if packed else data)
        os.close(writer)
        assert main(["fairshare", "compute", f"/dev/fd/{reader}", "-f", "json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == len(TREE)
        os.close(reader)


def test_a_file_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["fairshare", "compute", str(tmp_path / "none.json")]) == 1
    assert "none.json: No such file or directory" in capsys.readouterr().err
    assert main(["priority", "compute", str(tmp_path)]) == 1
    assert "Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20", 1200), (5, 300), ("1:30", 90), ("2:00:00", 7200), ("7-0", 604_800),
     ("1-12", 129_600), ("1-00:30", 88_200), ("1-00:00:30", 86_430), ("00:30:00", 1800),
     ("UNLIMITED", slurm_text.UNLIMITED_S)],
)  # fmt: skip
def test_slurms_times_are_read(text: int | str, expected: float) -> None:
    assert slurm_text.seconds(text, "time") == expected


@pytest.mark.parametrize("text", ["", "soon", "-5", "1:2:3:4", None, True, 1.5])
def test_what_is_no_time_is_refused(text: bool | float | str | None) -> None:
    with pytest.raises(InvalidInput, match="time is"):
        slurm_text.seconds(text, "time")


def test_slurms_amounts_have_their_units() -> None:
    assert slurm_text.tres("cpu=9,mem=4G,node=2,billing=1K", "tres") == {
        "cpu": 9, "mem": 4096, "node": 2, "billing": 1024,
    }  # fmt: skip
    assert slurm_text.tres_weights("CPU=2.5,Mem=0.25G", "w") == {"cpu": 2.5, "mem": 0.25 / 1024}
    assert slurm_text.tres("", "tres") == {}
