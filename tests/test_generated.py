"""Files that are made from the code are as the code makes them now."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from synergy.core.declared.answers import READS
from tests.loading import load

ROOT = Path(__file__).parents[1]
BOUNDS = "upper-constraints.txt"
SAMPLES = [
    ("oslo-config-generator", "config-generator.conf", "synergy.conf.sample"),
    ("oslopolicy-sample-generator", "policy-generator.conf", "policy.yaml.sample"),
]


@pytest.mark.parametrize(("tool", "settings", "sample"), SAMPLES)
def test_a_sample_is_current(tmp_path: Path, tool: str, settings: str, sample: str) -> None:
    folder = ROOT / "etc" / "synergy"
    made = tmp_path / sample
    subprocess.run(
        [Path(sys.executable).parent / tool, "--config-file", folder / settings,
         "--output-file", made],
        check=True, capture_output=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert made.read_text() == (folder / sample).read_text(), "run: make sample"


def test_the_types_and_the_reads_of_the_client_are_current() -> None:
    maker = load(ROOT / "tools" / "client_types.py")
    assert maker.source_of(maker.SCHEMAS) == maker.TARGET.read_text(), "run: make sample"
    assert maker.reads_source_of(READS) == maker.READS_TARGET.read_text(), "run: make sample"


def test_each_value_that_an_option_takes_is_explained() -> None:
    sample = (ROOT / "etc" / "synergy" / "synergy.conf.sample").read_text()
    ours = [part for part in sample.split("# From ")[1:] if part.startswith("synergy\n")]
    assert "".join(ours).count("# Possible values:") > 10
    for part in ours:
        assert "No description" not in part, "give the option's choices as (value, description)"


def requirements(name: str) -> list[Requirement]:
    if name == "setup.cfg":
        sections = configparser.ConfigParser()
        sections.read(ROOT / name)
        lines = "\n".join(sections["extras"].values()).splitlines()
    else:
        lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["requirements.txt", "setup.cfg", "test-requirements.txt"])
def test_each_requirement_has_an_upper_bound_that_it_allows(name: str) -> None:
    bounds = {one.name.lower().replace("_", "-"): one for one in requirements(BOUNDS)}
    for wanted in requirements(name):
        (bound,) = bounds[wanted.name.lower().replace("_", "-")].specifier
        assert bound.operator == "==", bound
        assert wanted.specifier.contains(bound.version), "run: make constraints"
