"""Forecasts are drawn in a process of their own: it is killed, stopped, and given nonsense."""

import logging
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from synergy.core.accounts import user_node
from synergy.core.forecasts.correction import Correction
from synergy.core.forecasts.drawing import Drawn, Held, Line, Question, Queue
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.model import Resources
from synergy.core.quota import QuotaNode, QuotaState
from synergy.core.rounds import Policy
from synergy.core.rounds.snapshot import NO_FACTORS
from synergy.managers.forecast.drawers import Drawer, DrawingFailed, Here, ProcessDrawer
from tests.builders import kind
from tests.patience import until

CLOUD = Resources.of(VCPU=4)
LONG_S = 60.0  # in which a process starts on a machine that does much else


def question(count: int = 3, samples: int = 5) -> Question:
    """A server holds everything for 100 s; these wait, one after the other."""
    one = kind(4, ttl_s=100)
    nodes = (
        QuotaNode(node_id="root", parent_id=None),
        QuotaNode(node_id=user_node(1), parent_id="root"),
    )
    ids = b"".join(UUID(int=number).bytes for number in range(1, count + 1))
    lifetimes = Lifetimes()
    for held_s in (20.0, 60.0) * 10:
        lifetimes.learn(one, "p", held_s)
    queue = Queue(
        at_s=1000.0,
        state=QuotaState(total=CLOUD, installed=CLOUD, hosts=(CLOUD,), nodes=nodes),
        policy=Policy(round_size=count + 1),
        lines=[
            Line(
                kind=one, project_id="p", ids=ids, queued_at_s=array("d", map(float, range(count)))
            )
        ],
        held=[Held(key=9, kind=one, project_id="p", began_s=990.0, known_end_s=1090.0)],
        suspended=frozenset(),
        factors=NO_FACTORS,
    )
    return Question(
        queue=queue,
        wanted=frozenset(str(UUID(int=number)) for number in range(1, count + 1)),
        lifetimes=lifetimes,
        correction=Correction(),
        samples=samples,
    )


def all_drawn(drawer: Drawer) -> list[Drawn]:
    found: list[Drawn] = []

    def is_done() -> bool:
        for part in drawer.parts():
            found.extend(part)
        return not drawer.busy

    until(is_done, LONG_S)
    return found


def is_gone(pid: int) -> bool:
    """Return whether a process is gone, or waits only for its parent to look."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
            == "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def apart() -> Iterator[ProcessDrawer]:
    made = ProcessDrawer()
    yield made
    made.close()


def pid_of(drawer: ProcessDrawer) -> int:
    assert drawer.pid is not None
    return drawer.pid


def test_a_process_of_its_own_draws_what_is_drawn_here(apart: ProcessDrawer) -> None:
    here = Here(time.monotonic)
    for drawer in (here, apart):
        drawer.ask(question(count=1200, samples=2), 600.0)
    assert apart.busy
    there = all_drawn(apart)
    assert there == all_drawn(here)
    assert len(there) == 1200
    assert not is_gone(pid_of(apart))


def test_nobody_is_left_once_it_is_closed(apart: ProcessDrawer) -> None:
    apart.ask(question(), 60.0)
    pid = pid_of(apart)
    apart.close()
    assert is_gone(pid)
    assert not apart.busy
    assert list(apart.parts()) == []


def test_a_process_that_is_killed_while_it_draws_is_told_once_and_replaced(
    apart: ProcessDrawer,
) -> None:
    apart.ask(question(count=4000, samples=1000), 600.0)
    pid = pid_of(apart)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(DrawingFailed, match="ended by signal 9"):
        all_drawn(apart)
    assert not apart.busy
    assert is_gone(pid)
    apart.ask(question(), 60.0)
    assert len(all_drawn(apart)) == 3
    assert pid_of(apart) != pid


def test_one_that_is_killed_while_nobody_asks_is_replaced_with_a_line_in_the_log(
    apart: ProcessDrawer, caplog: pytest.LogCaptureFixture
) -> None:
    apart.ask(question(), 60.0)
    all_drawn(apart)
    pid = pid_of(apart)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with caplog.at_level(logging.INFO):
        apart.ask(question(), 60.0)
        assert len(all_drawn(apart)) == 3
    (line,) = caplog.messages
    assert line == "the process that draws forecasts ended by signal 9: another one is started"


def test_one_that_takes_too_long_is_ended_and_whoever_asks_never_waits_for_it() -> None:
    """It is stopped for good, so it does not even take the question in."""
    apart = ProcessDrawer(grace_s=0.5)
    apart.ask(question(), 0.1)
    pid = pid_of(apart)
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()
    with pytest.raises(DrawingFailed, match=r"not drawn in 1 s, so their process was ended"):
        all_drawn(apart)
    assert time.monotonic() - began_s < LONG_S / 2
    assert is_gone(pid)
    apart.close()


def test_a_question_that_cannot_be_answered_fails_alone(apart: ProcessDrawer) -> None:
    apart.ask(question(), 60.0)
    all_drawn(apart)
    pid = pid_of(apart)
    apart.ask(replace(question(), samples=0), 60.0)
    with pytest.raises(DrawingFailed, match="IndexError"):
        all_drawn(apart)
    apart.ask(question(), 60.0)
    assert len(all_drawn(apart)) == 3
    assert pid_of(apart) == pid


def test_what_is_learned_after_it_was_asked_is_not_in_the_question(apart: ProcessDrawer) -> None:
    asked, expected = question(), question()
    apart.ask(asked, 60.0)
    for _ in range(200):
        asked.lifetimes.learn(kind(4, ttl_s=100), "p", 100.0)
    here = Here(time.monotonic)
    here.ask(expected, 60.0)
    assert all_drawn(apart) == all_drawn(here)


PARENT = """
import time
from synergy.managers.forecast.drawers import ProcessDrawer
from tests.unit.managers.forecast.test_drawers import question
if __name__ == "__main__":
    apart = ProcessDrawer()
    apart.ask(question(count=4000, samples=1000), 600.0)
    print(apart.pid, flush=True)
    time.sleep(600)
"""


def test_it_ends_by_itself_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    root = str(Path(__file__).parents[4])
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()
    until(lambda: is_gone(pid), LONG_S)
