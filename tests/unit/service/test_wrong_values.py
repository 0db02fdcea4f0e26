"""A wrong value in a file is told with its option, the value and what is allowed."""

from pathlib import Path

import pytest

from synergy.service.options import new_conf, problems_of


@pytest.mark.parametrize(
    ("section", "line", "said"),
    [
        ("scheduler", "backfill_depth = seven", "'seven' is not a whole number"),
        ("scheduler", "backfill_depth = 7.5", "'7.5' is not a whole number"),
        ("nova", "settle_s = soon", "'soon' is not a number"),
        ("nova", "autostart = perhaps", "'perhaps'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_in_words(
    tmp_path: Path, section: str, line: str, said: str
) -> None:
    path = tmp_path / "synergy.conf"
    path.write_text(f"[DEFAULT]\ncloud = embedded\n[{section}]\n{line}\n")
    conf = new_conf()
    conf(["--config-file", str(path)])
    name = f"[{section}] {line.partition(' =')[0]}: "
    told = [problem for problem in problems_of(conf) if problem.startswith(name)]
    assert len(told) == 1
    assert said in told[0]
    assert str(path) in told[0]
    assert "literal" not in told[0]
    assert "convert" not in told[0]
