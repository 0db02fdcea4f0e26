"""Files that are made from the code are as the code makes them now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_sample_configuration_is_current(tmp_path):
    made = tmp_path / "sample"
    tool = Path(sys.executable).parent / "oslo-config-generator"
    subprocess.run(
        [str(tool), "--namespace", "synergy", "--output-file", str(made)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    kept = ROOT / "etc" / "synergy" / "synergy.conf.sample"
    assert made.read_text() == kept.read_text(), "run: make sample"
