"""Files that are made from the code are as the code makes them now."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLES = [
    ("oslo-config-generator", "config-generator.conf", "synergy.conf.sample"),
    ("oslopolicy-sample-generator", "policy-generator.conf", "policy.yaml.sample"),
]


@pytest.mark.parametrize(("tool", "settings", "sample"), SAMPLES)
def test_a_sample_is_current(tmp_path, tool, settings, sample):
    folder = ROOT / "etc" / "synergy"
    made = tmp_path / sample
    subprocess.run(
        [Path(sys.executable).parent / tool, "--config-file", folder / settings,
         "--output-file", made],
        check=True, capture_output=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert made.read_text() == (folder / sample).read_text(), "run: make sample"


def test_each_value_that_an_option_takes_is_explained():
    sample = (ROOT / "etc" / "synergy" / "synergy.conf.sample").read_text()
    ours = [part for part in sample.split("# From ")[1:] if part.startswith("synergy\n")]
    assert "".join(ours).count("# Possible values:") > 10
    for part in ours:
        assert "No description" not in part, "give the option's choices as (value, description)"
