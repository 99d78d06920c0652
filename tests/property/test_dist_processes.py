"""Whatever other nodes say, the processes of ours cope: whoever reads a connection must not meet an exception."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.dist.bonds import Bonds
from harness.dist.processes import Processes
from harness.dist.protocol.control import Control, read, write
from harness.dist.protocol.operations import (
    AliasSend,
    DemonitorP,
    Exit,
    Exit2,
    GroupLeader,
    Link,
    MonitorP,
    MonitorPExit,
    NodeLink,
    RegSend,
    Send,
    SpawnReply,
    SpawnRequest,
    Unknown,
    Unlink,
    UnlinkId,
    UnlinkIdAck,
)
from harness.etf import Atom, ImproperList, Pid, Reference, Term

OURS, THEIRS = Atom("a@a"), Atom("b@b")
PIDS = st.builds(Pid, st.sampled_from([OURS, THEIRS]), st.integers(0, 4), st.just(0), st.sampled_from([5, 6]))
REFS = st.builds(
    Reference, st.sampled_from([OURS, THEIRS]), st.just(5), st.tuples(st.just(0), st.just(0), st.integers(0, 4))
)
NAMES = st.sampled_from([Atom("box"), Atom("nobody"), Atom("net_kernel"), Atom("rex"), Atom("undefined")])
TAGS = REFS | st.builds(lambda ref: ImproperList((Atom("alias"),), ref), REFS) | st.just([1])
REQUESTS = st.sampled_from([(Atom("is_auth"), THEIRS), (Atom("call"), 1), Atom("x"), [Atom("is_auth")]])
TERMS = st.sampled_from([Atom("kill"), Atom("killed"), b"kill", 1, None, [], (Atom("a"), 1)]) | st.builds(
    lambda pid, tag, request: (Atom("$gen_call"), (pid, tag), request), PIDS, TAGS, REQUESTS
)
PROCS = PIDS | NAMES
CONTROLS: st.SearchStrategy[Control] = st.one_of(
    st.builds(Link, PIDS, PIDS),
    st.builds(Send, PIDS),
    st.builds(RegSend, PIDS, NAMES),
    st.builds(AliasSend, PIDS, REFS),
    st.builds(Exit, PIDS, PIDS, TERMS),
    st.builds(Exit2, PIDS, PIDS, TERMS),
    st.builds(Unlink, PIDS, PIDS),
    st.builds(UnlinkId, st.integers(1, 3), PIDS, PIDS),
    st.builds(UnlinkIdAck, st.integers(1, 3), PIDS, PIDS),
    st.builds(NodeLink),
    st.builds(GroupLeader, PIDS, PIDS),
    st.builds(MonitorP, PIDS, PROCS, REFS),
    st.builds(DemonitorP, PIDS, PROCS, REFS),
    st.builds(MonitorPExit, PROCS, PIDS, REFS, TERMS),
    st.builds(SpawnRequest, REFS, PIDS, PIDS, st.just((Atom("m"), Atom("f"), 0)), st.just([Atom("monitor")])),
    st.builds(SpawnReply, REFS, PIDS, st.integers(0, 3), PIDS | NAMES),
    st.just(Unknown((99, 1))),
)


class Box:
    def __init__(self, node: Processes, name: str | None = None) -> None:
        self.bonds = Bonds(node.new_pid())
        self.told: list[Term] = []
        node.add(self, name)

    def deliver(self, message: Term) -> None:
        self.told.append(message)

    def killed(self) -> None:
        pass


@given(st.lists(st.tuples(CONTROLS, TERMS), max_size=30))
def test_any_signals(signals: list[tuple[Control, Term]]) -> None:
    sent: list[tuple[str, Control, Term]] = []

    def post(node: str, control: Control, message: Term) -> bool:
        sent.append((node, control, message))
        return len(sent) % 2 == 0  # every other time there is no connection

    node = Processes(OURS, 5, post)
    named, other = Box(node, "box"), Box(node)
    node.aliases[Reference(OURS, 5, (0, 0, 1))] = other
    node.post_all(named.bonds.link(other.bonds.pid))
    node.post_all(named.bonds.monitor((Atom("x"), THEIRS), Reference(OURS, 5, (0, 0, 2))))
    for control, message in signals:
        node.handle(control, message)
        node.handle_local()
    for box in (named, other):
        node.end(box, Atom("over"))
        node.handle_local()
    assert all(to != OURS for to, _, _ in sent)
    for _, control, message in sent:  # what is answered can be written, and says so to who reads it
        assert read(write(control, message)[4:])[0] == control
