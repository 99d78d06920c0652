"""The link protocol between two processes of two nodes, however their signals cross."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from harness.dist.bonds import Bonds
from harness.dist.events import Exit
from harness.dist.processes import Processes
from harness.dist.protocol.control import Control
from harness.etf import Atom, Term


class Side:
    """A node with one process, and what is on its way from it."""

    def __init__(self, name: str) -> None:
        self.sent: deque[tuple[Control, Term]] = deque()
        self.node = Processes(name, 5, self.post)
        self.bonds = Bonds(self.node.new_pid())
        self.told: list[Term] = []
        self.node.add(self, None)

    def post(self, node: str, control: Control, message: Term) -> bool:
        self.sent.append((control, message))
        return True

    def deliver(self, message: Term) -> None:
        self.told.append(message)

    def killed(self) -> None:
        raise AssertionError("nobody kills here")

    def link(self, other: Side) -> None:
        self.node.post_all(self.bonds.link(other.bonds.pid))

    def unlink(self, other: Side) -> None:
        self.node.post_all(self.bonds.unlink(other.bonds.pid))

    def pass_on(self, other: Side) -> None:
        """The oldest signal arrives."""
        if self.sent:
            other.node.handle(*self.sent.popleft())


STEPS = st.lists(st.tuples(st.sampled_from(["link", "unlink", "pass_on"]), st.booleans()), max_size=40)


def played(steps: list[tuple[str, bool]]) -> tuple[Side, Side]:
    sides = Side("a@a"), Side("b@b")
    for verb, first in steps:
        side, other = sides if first else sides[::-1]
        getattr(side, verb)(other)
    return sides


def settle(one: Side, two: Side) -> None:
    while one.sent or two.sent:
        one.pass_on(two)
        two.pass_on(one)


@given(STEPS)
def test_both_agree_in_the_end(steps: list[tuple[str, bool]]) -> None:
    one, two = played(steps)
    settle(one, two)
    assert (one.bonds.linked() == [two.bonds.pid]) == (two.bonds.linked() == [one.bonds.pid])
    assert not any(one.bonds._links.values())  # no unlink is left unacknowledged
    assert not any(two.bonds._links.values())
    assert not one.told
    assert not two.told


@given(STEPS, st.booleans())
def test_who_linked_last_is_linked_and_who_unlinked_last_is_not(steps: list[tuple[str, bool]], link: bool) -> None:
    one, two = played(steps)
    settle(one, two)
    (one.link if link else one.unlink)(two)
    settle(one, two)
    assert one.bonds.linked() == ([two.bonds.pid] if link else [])
    assert two.bonds.linked() == ([one.bonds.pid] if link else [])


@given(STEPS)
def test_an_end_is_told_once_to_who_is_linked_then_and_never_to_who_is_not(steps: list[tuple[str, bool]]) -> None:
    one, two = played(steps)
    unlinked = not two.bonds.linked()
    one.node.end(one, Atom("over"))
    settle(one, two)
    assert two.told.count(Exit(one.bonds.pid, Atom("over"))) <= 1
    assert not two.bonds.linked() or unlinked  # else nothing of the link is left
    assert all(type(told) is Exit for told in two.told)


@given(STEPS)
def test_nothing_outlives_the_connection(steps: list[tuple[str, bool]]) -> None:
    one, _two = played(steps)
    linked = one.bonds.linked()
    one.node.node_lost("b@b")
    assert one.told == [Exit(pid, Atom("noconnection")) for pid in linked]
    assert not one.bonds._links
    assert not one.bonds._watchers
