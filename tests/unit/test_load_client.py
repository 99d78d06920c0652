"""What is on disk when, and what is done again under which name; against a peer on loopback."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakeLink, FakePeer, nobody_listens

from harness.dist import THREADS
from harness.etf import Atom
from harness.history import FAIL, INVOKE, OK, UNKNOWN, Operation
from harness.load.client import Link, Op, Recorder, Session
from harness.load.snapshot import Stats
from harness.load.worker import Endpoint
from harness.load.workload import Request
from harness.segments import Segment, merge_operations, read_segment

ABS = Request("erlang", "abs", (-1,))
WAIT = 60.0


class Here:
    """A session on a fake peer, and its segment."""

    def __init__(self, folder: Path, peer: FakePeer, **recording: object) -> None:
        self.path = folder / "ops-w1.seg"
        self.recorder = Recorder(Stats(), 1, Segment(self.path), **recording)  # type: ignore[arg-type]
        self.link = Link(
            Endpoint("n1", peer.name, "127.0.0.1", peer.port),
            local="harness-w1@harness", cookie="c", runtime=THREADS, ticktime=60.0,
            before_write=self.recorder.flush,
        )  # fmt: skip
        self.session = Session(self.link, self.recorder)

    def perform(self, timeout: float = WAIT) -> tuple[int, str]:
        op = Op(self.recorder.number(Operation("abs", "rpc")), "abs", "rpc", "", timeout)
        judged = self.session.perform(op, ABS, self.recorder.new_id())
        return judged.outcome, judged.reason


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Callable[..., Here]]:
    made: list[Here] = []
    peers: list[FakePeer] = []

    def make(script: Callable[[FakeLink], None], **recording: object) -> Here:
        peers.append(FakePeer(script).__enter__())
        made.append(Here(tmp_path, peers[-1], **recording))
        made[-1].link.opened(WAIT)
        return made[-1]

    yield make
    for one in made:
        one.link.close()
    for peer in peers:
        peer.__exit__()


def test_the_invocation_is_on_disk_before_the_call_arrives(here: Callable[..., Here], tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def script(link: FakeLink) -> None:
        while (call := link.call()) is not None:
            seen.append(read_segment(tmp_path / "ops-w1.seg")["type"].tolist())
            link.reply(call[0], call[1], 1)

    there = here(script)
    assert [there.perform() for _ in range(2)] == [(OK, "")] * 2
    assert seen == [[INVOKE], [INVOKE, OK, INVOKE]]  # the completion goes with the next
    there.recorder.close()
    history = merge_operations(tmp_path)
    assert history.outcome.tolist() == [OK, OK]
    assert (history.id >> 40).tolist() == [1, 1]


def test_after_unknown_the_user_is_another_process(here: Callable[..., Here], tmp_path: Path) -> None:
    answers = iter([None, (Atom("badrpc"), Atom("nodedown")), 1])

    def script(link: FakeLink) -> None:
        while (call := link.call()) is not None:
            answer = next(answers, "gone")
            if answer == "gone":
                return  # closes
            if answer is not None:
                link.reply(call[0], call[1], answer)

    there = here(script)
    told = [there.perform(0.3), *(there.perform() for _ in range(3))]
    assert told == [(UNKNOWN, "timeout"), (UNKNOWN, "badrpc_nodedown"), (OK, ""), (UNKNOWN, "connection_lost")]
    there.recorder.close()
    processes = [p - (1 << 40) for p in merge_operations(tmp_path).process.tolist()]
    assert processes == [1, 2, 3, 3]


def test_nothing_is_sent_that_is_not_on_disk(here: Callable[..., Here], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    told: list[OSError] = []

    def script(link: FakeLink) -> None:
        while (call := link.call()) is not None:
            calls.append(call)

    def full(self: Segment) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    there = here(script, on_disk_full=told.append)
    monkeypatch.setattr(Segment, "flush", full)
    assert there.perform() == (FAIL, "not_sent")
    assert [error.errno for error in told] == [errno.ENOSPC]
    assert calls == []
    monkeypatch.undo()
    there.recorder.close()


def test_down_is_certainly_not(tmp_path: Path) -> None:
    recorder = Recorder(Stats())
    op = Op(1, "abs", "rpc", "", 60.0)
    with nobody_listens() as port:
        link = Link(Endpoint("n1", "n1@n1", "127.0.0.1", port), local="a@b", cookie="c", runtime=THREADS, ticktime=60.0)
        judged = Session(link, recorder).perform(op, ABS, 1)
        link.close()
    assert (judged.outcome, judged.reason) == (FAIL, "not_sent")
