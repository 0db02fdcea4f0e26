"""What is supposed on the command line is what the API is asked, and its answer is told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from synergy.cli.what_if import AskWhatIf, DiffPolicy
from synergy.client import ApiError

FORESEEN: dict[str, Any] = {"requests": 3, "starts": 3, "mean_wait_s": 10.0, "utilisation": 0.5,
            "share_error": 0.1, "last_start": "2026-01-01T00:00:00+00:00"}  # fmt: skip
SHIFTED = {"earlier": 1, "later": 2, "same": 0, "never": 0, "after_all": 0, "mean_change_s": -60.0}
ANSWER: dict[str, Any] = {
    "supposed": ["policy"], "until": "2026-01-01T00:00:00+00:00", "before": FORESEEN,
    "after": FORESEEN | {"utilisation": 0.75},
    "projects": [{"project_id": "p", "name": "physics", **SHIFTED}], "classes": [],
    "most_earlier": [{"id": "r", "project_id": "p", "before": None, "after": "x",
                      "change_s": None}],
    "most_later": [], "hypothetical": None, "seconds": 0.1, "round_id": "1", "round_at": None,
    "age_s": 1.0,
}  # fmt: skip


def run(
    command: type[AskWhatIf] | type[DiffPolicy], *arguments: str
) -> tuple[list[dict[str, Any]], dict[str, object]]:
    """Return what the API was asked, and what is shown."""
    asked: list[dict[str, Any]] = []

    def what_if(supposed: dict[str, Any]) -> dict[str, Any]:
        asked.append(supposed)
        return ANSWER

    client = SimpleNamespace(requests=SimpleNamespace(what_if=what_if))
    app: Any = SimpleNamespace(client_manager=SimpleNamespace(synergy=client))
    made = command(app, None)
    columns, values = made.take_action(made.get_parser("synergy").parse_args(arguments))
    return asked, dict(zip(columns, values, strict=True))


def test_every_option_becomes_a_part_of_the_question() -> None:
    asked, shown = run(
        AskWhatIf, "--shares", "physics=70", "--private", "physics=VCPU=4,MEMORY_MB=8",
        "--borrow-limit", "bio=VCPU=2", "--suspend", "bio", "--option", "discipline=fifo",
        "--option", "weight_age=5", "--option", "max_age_s=3600",
        "--option", "weight_tres=VCPU:10,MEMORY_MB:0.5", "--half-life", "24h", "--host-down", "node1",
        "--host-added", "VCPU=64", "--request", "bio:large:3", "--request", "bio:small",
        "--withdraw", "some-id",
    )  # fmt: skip
    assert asked == [
        {
            "projects": {
                "physics": {"raw_shares": 70, "private": {"VCPU": 4, "MEMORY_MB": 8}},
                "bio": {"borrow_limit": {"VCPU": 2}, "suspended": True},
            },
            "policy": {
                "discipline": "fifo",
                "weight_age": 5,
                "max_age_s": 3600.0,
                "weight_tres": {"VCPU": 10.0, "MEMORY_MB": 0.5},
            },
            "half_life_s": 86_400,
            "hosts_down": ["node1"],
            "hosts_added": [{"VCPU": 64}],
            "requests": [
                {"project": "bio", "flavor": "large", "count": 3},
                {"project": "bio", "flavor": "small"},
            ],
            "withdraw": ["some-id"],
        }
    ]
    assert str(shown["utilisation"]) == "0.5 -> 0.75"
    machine: Any = shown  # what -f json prints
    assert machine["utilisation"].machine_readable() == {"before": 0.5, "after": 0.75}
    assert machine["projects"].machine_readable() == ANSWER["projects"]
    assert "physics: 1 earlier, 2 later" in str(shown["projects"])


def test_a_configuration_file_is_compared_as_far_as_that_can_be(tmp_path: Path) -> None:
    path = tmp_path / "synergy.conf"
    path.write_text(
        "[DEFAULT]\ndebug = true\n[scheduler]\ndiscipline = conservative\nweight_age = 7\n"
        "max_age_s = 86400\nweight_tres = VCPU:1000, MEMORY_MB:2\n"
        "debounce_s = 3\nmost_reserved = 5\n"
        "[fairshare]\ndecay_half_life_s = 3600.5\nalgorithm = classic\n"
        "[api]\nport = 1\n"
    )
    asked, shown = run(DiffPolicy, str(path))
    assert asked == [
        {
            "policy": {
                "discipline": "conservative",
                "weight_age": 7,
                "max_age_s": 86_400.0,
                "weight_tres": {"VCPU": 1000.0, "MEMORY_MB": 2.0},
                "max_reserved": 5,  # its former name is understood
            },
            "half_life_s": 3600.5,
        }
    ]
    assert str(shown["not_compared"]) == "[scheduler] debounce_s, [fairshare] algorithm"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--shares", "physics"], "--shares is 'physics', but must be PROJECT=N"),
        (["--shares", "physics=many"], "--shares is 'many', but must be a whole number"),
        (["--private", "physics=VCPU"], "--private: 'VCPU' must name a resource class and a whole"),
        (["--private", "physics=VCPU:4"], "--private: 'VCPU:4' must name .* such as VCPU=4"),
        (["--private", "physics=VCPU=none"], "--private: VCPU is none, but must be a whole number"),
        (["--option", "weight_tres=VCPU"], "weight_tres has 'VCPU', but must have CLASS:WEIGHT"),
        (["--option", "weight_tres=VCPU:x"], "weight_tres VCPU is 'x', but must be a number"),
        (["--option", "color=red"], "--option color is unknown: it must be one of discipline"),
        (["--option", "weight_age=-1"], "--option weight_age is '-1', but must be a whole number"),
        (["--request", "physics"], "--request is 'physics', but must be PROJECT:FLAVOR"),
        (["--request", "physics:big:x"], "--request COUNT is 'x', but must be a whole number"),
    ],
)
def test_a_wrong_option_is_told_with_what_it_must_be(arguments: list[str], told: str) -> None:
    with pytest.raises(ApiError, match=told):
        run(AskWhatIf, *arguments)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("no section\n", "no section headers"),
        ("[api]\nport = 1\n", "has none of the options that can be compared"),
        ("[scheduler]\nweight_age = heavy\n", "weight_age is 'heavy', but must be a whole number"),
        ("[fairshare]\ndecay_half_life_s = long\n", "is 'long', but must be a number of seconds"),
    ],
)
def test_a_wrong_file_is_told_with_its_name(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "synergy.conf"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ApiError, match=told) as error:
        run(DiffPolicy, str(path))
    assert str(path) in str(error.value)
