"""Two of our nodes joined in memory: handshake, then every control message with any term, in any pieces, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st
from terms import RandomTerms

from harness.dist.protocol.control import Control, SpawnRequest, Unknown, read, write
from harness.dist.protocol.flags import HEADER, HIDDEN
from harness.dist.protocol.framing import TICK, Deframer
from harness.dist.protocol.handshake import Acceptor, Established, Identity, Initiator, Send
from harness.dist.protocol.header import Inbound
from harness.dist.protocol.header_out import Outbound
from harness.etf import Atom, Pid, Reference, Term, encode

u32 = st.integers(0, 2**32 - 1)
names = st.sampled_from([Atom("a@a"), Atom("b@b"), Atom("true"), Atom("n\u00e9@h")])
atoms = st.sampled_from([Atom("rex"), Atom("true"), Atom("undefined"), Atom("")])
pids = st.builds(Pid, names, u32, u32, u32)
refs = st.builds(Reference, names, u32, st.lists(u32, min_size=1, max_size=5).map(tuple))
terms = st.integers(0, 1 << 40).map(lambda seed: RandomTerms(seed).make(3))
KINDS = [kind for kind in get_args(Control) if kind is not Unknown]
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    Pid: pids,
    Atom: atoms,
    Reference: refs,
    int: st.integers(0, 2**64 - 1),
    list[Term]: st.lists(terms, max_size=3),
    tuple[Atom, Atom, int]: st.tuples(atoms, atoms, st.integers(0, 255)),
    type(None): st.none(),
    Any: st.none() | terms.filter(lambda term: term is not None),
}


def field(hint: Any) -> st.SearchStrategy[Any]:
    return FIELDS[hint] if hint in FIELDS else st.one_of(*(FIELDS[part] for part in get_args(hint)))


def controls(kind: type[Any]) -> st.SearchStrategy[Control]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{each.name: field(hints[each.name]) for each in fields(kind)})


@st.composite
def messages(draw: st.DrawFn) -> tuple[Control, Term]:
    control = draw(st.sampled_from(KINDS).flatmap(controls))
    carries = write(control, None) != write(control, 1)
    if type(control) is SpawnRequest:
        return control, draw(st.lists(terms, max_size=3))
    return control, draw(terms) if carries else None


@dataclass
class Side:
    """One node: its half of the handshake, then its packets."""

    handshake: Initiator | Acceptor
    fragment: int
    established: Established | None = None

    def __post_init__(self) -> None:
        self.deframe = Deframer().receive
        self.inbound, self.outbound = Inbound(), Outbound(fragment=self.fragment)
        self.got: list[tuple[Control, Term]] = []
        self.ticks = 0

    @property
    def headed(self) -> bool:
        assert self.established is not None
        return bool(self.established.flags & self.handshake.local.flags & HEADER)

    def receive(self, data: bytes) -> bytes:
        """What is said in return."""
        if self.established is None:
            said = b""
            for event in self.handshake.receive(data):
                if isinstance(event, Send):
                    said += event.data
                else:
                    assert isinstance(event, Established)
                    self.established = event
                    self.receive(event.rest)
            return said
        for packet in self.deframe(data):
            if not packet:
                self.ticks += 1
            elif not self.headed:
                self.got.append(read(packet))
            elif (whole := self.inbound.receive(packet)) is not None:
                self.got.append(read(whole.data, atoms=whole.atoms))
        return b""

    def packets(self, messages: Iterable[tuple[Control, Term]]) -> bytes:
        plain = [TICK, *(write(*message) for message in messages), TICK]
        return b"".join(b"".join(self.outbound.packets(packet)) if self.headed else packet for packet in plain)


def pump(data: bytes, cut: int, to: Side) -> bytes:
    return b"".join(to.receive(data[at : at + cut]) for at in range(0, len(data), cut))


def shown(messages: Iterable[tuple[Control, Term]]) -> list[tuple[str, bytes]]:
    """So that 1, 1.0 and true are told apart, too."""
    return [(repr(control), encode(message)) for control, message in messages]


@settings(deadline=None)
@given(
    st.lists(messages(), max_size=8),
    st.lists(messages(), max_size=8),
    st.sampled_from([HIDDEN, HIDDEN | HEADER]),
    st.sampled_from(["ok", "ok_simultaneous", "alive"]),
    st.integers(1, 40),
    st.integers(1, 200),
)
def test_everything_passes_between_two_of_ours(
    ours: list[tuple[Control, Term]],
    theirs: list[tuple[Control, Term]],
    flags: int,
    answer: str,
    cut: int,
    fragment: int,
) -> None:
    a = Side(Initiator(Identity("a@a", "c", 5, HIDDEN | HEADER), "b@b", 1), fragment)
    b = Side(Acceptor(Identity("b@b", "c", 6, flags), 2, answer), fragment)
    to_b = a.handshake.start() if isinstance(a.handshake, Initiator) else b""
    while to_b:
        to_b = pump(pump(to_b, cut, b), cut, a)
    assert a.headed == b.headed == bool(flags & HEADER)
    pump(a.packets(ours), cut, b)
    pump(b.packets(theirs), cut, a)
    assert shown(b.got) == shown(ours)
    assert shown(a.got) == shown(theirs)
    assert (a.ticks, b.ticks) == (2, 2)
