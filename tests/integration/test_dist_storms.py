"""Processes of ours among hundreds of a node's: nothing is lost, told twice or out of order, and nothing is left."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

import pytest
from commands import wait_until
from nodes import COOKIE, ErlangNode, StartErlang, evaluate

from harness.dist import Connection, Down, Exit, Mailbox, Node
from harness.etf import Atom, Pid

pytestmark = pytest.mark.docker

WAIT = 60.0
MAILBOXES = 10
EACH = 50


@pytest.fixture(scope="module", params=[25, 27])
def node(request: pytest.FixtureRequest, start_erlang: StartErlang) -> ErlangNode:
    return start_erlang(request.param)


@pytest.fixture
def ours(node: ErlangNode) -> Iterator[Node]:
    with Node("storm@harness", COOKIE, ticktime=8.0) as made:
        made.connect(node.name, host=node.address)
        yield made


@pytest.fixture
def link(ours: Node, node: ErlangNode) -> Connection:
    return ours.connections[node.name]


def together(count: int, job: Callable[[int], None]) -> None:
    """`job` of every index at once, each in a thread; the first error of any."""
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            job(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def nothing_more(box: Mailbox, link: Connection) -> None:
    """Whatever the node had sent to `box` before this is here now, and it is nothing."""
    link.rpc("erlang", "send", [box.pid, Atom("fence")])
    assert box.receive(WAIT) == "fence"


def test_every_process_is_spawned_and_its_end_is_told_once(ours: Node, node: ErlangNode, link: Connection) -> None:
    def storm(index: int) -> None:
        with ours.mailbox() as box:
            expected = {}
            for n in range(EACH):
                reason = (Atom("ended"), index, n)
                pid, ref = box.spawn(node.name, "erlang", "exit", [reason], monitor=True, timeout=WAIT)  # type: ignore[misc]
                expected[ref] = (pid, reason)
            for _ in range(EACH):
                down = box.receive(WAIT)
                assert isinstance(down, Down)
                assert expected.pop(down.ref) == (down.process, down.reason)
            nothing_more(box, link)

    together(MAILBOXES, storm)


LIVING = "[spawn(fun() -> receive {exit, Reason} -> exit(Reason) end end) || _ <- lists:seq(1, 100)]."


def living(link: Connection) -> list[Pid]:
    pids: list[Pid] = evaluate(link.rpc, LIVING)
    return pids


def test_links_made_and_broken_over_and_over(ours: Node, link: Connection) -> None:
    """Linked at last: one exit each. Unlinked at last: none."""
    pids = living(link)
    with ours.mailbox() as box:
        for pid in pids:
            box.link(pid)
        for n, pid in enumerate(pids):
            for _ in range(n % 7):
                box.unlink(pid)
                box.link(pid)
            if n % 2:
                box.unlink(pid)
        for n, pid in enumerate(pids):
            box.send(pid, (Atom("exit"), n))
        linked = {pid: n for n, pid in enumerate(pids) if not n % 2}
        for _ in range(len(linked)):
            gone = box.receive(WAIT)
            assert isinstance(gone, Exit)
            assert linked.pop(gone.sender) == gone.reason
        wait_until(lambda: not any(link.rpc("erlang", "is_process_alive", [pid]) for pid in pids), "their ends")
        nothing_more(box, link)


BOUND = """
Us = {us, 'storm@harness'},
Watch = fun() -> monitor(process, Us), receive {'DOWN', _, process, Us, Reason} -> exit({down, Reason}) end end,
[spawn(Watch) || _ <- lists:seq(1, 100)].
"""


def test_our_end_is_told_to_all_who_watch(ours: Node, node: ErlangNode, link: Connection) -> None:
    with ours.mailbox() as told:
        box = ours.mailbox("us")
        watching: list[Pid] = evaluate(link.rpc, BOUND)
        for pid in watching:
            told.monitor(pid)
        linked = living(link)
        for pid in linked:
            box.link(pid)
            told.monitor(pid)
        box.close((Atom("over"), 1))
        reasons = {}
        for _ in range(len(watching) + len(linked)):
            down = told.receive(WAIT)
            reasons[down.process] = down.reason
        assert {reasons[pid] for pid in linked} == {("over", 1)}
        # a monitor that comes when the mailbox is gone already finds nobody
        assert {reasons[pid] for pid in watching} <= {("down", ("over", 1)), ("down", "noproc")}
        assert len(reasons) == len(watching) + len(linked)


def test_a_lost_connection_ends_every_bond_once(ours: Node, node: ErlangNode, link: Connection) -> None:
    pids = living(link)
    boxes = [ours.mailbox() for _ in range(MAILBOXES)]
    refs = [{box.monitor(pid): pid for pid in pids} for box in boxes]
    for box in boxes:
        for pid in pids:
            box.link(pid)
    link.rpc("erlang", "abs", [-1])
    watcher = node.connect(local="watcher@harness")
    assert watcher.rpc("erlang", "disconnect_node", [Atom("storm@harness")]) is True
    for box, expected in zip(boxes, refs, strict=True):
        exits = set(pids)
        for _ in range(2 * len(pids)):
            match box.receive(WAIT):
                case Down(ref, process, "noconnection"):
                    assert expected.pop(ref) == process
                case Exit(sender, "noconnection"):
                    exits.remove(sender)
        assert not expected
        assert not exits
    again = ours.connect(node.name, host=node.address)
    for box in boxes:
        nothing_more(box, again)
        box.close()
    watcher.close()


ORDERED = """
fun(To, Count) ->
    [spawn(fun() -> [To ! {Sender, N} || N <- lists:seq(1, Count)] end) || Sender <- lists:seq(1, 10)]
end."""


def test_messages_of_many_senders_keep_their_order(ours: Node, link: Connection) -> None:
    with ours.mailbox("sink") as box:
        source = ORDERED.strip().removesuffix(".")
        evaluate(link.rpc, f"({source})({{sink, 'storm@harness'}}, 1000).")
        last = dict.fromkeys(range(1, 11), 0)
        for sender in range(10, 0, -1):  # in an order in which they do not come
            for n in range(1, 501):
                assert box.receive(WAIT, lambda message, sender=sender: message[0] == sender) == (sender, n)
            last[sender] = 500
        for _ in range(5000):
            sender, n = box.receive(WAIT)
            assert n == last[sender] + 1
            last[sender] = n
        nothing_more(box, link)


LIVES = 300


def test_mailboxes_come_and_go_and_leave_nothing(ours: Node, node: ErlangNode, link: Connection) -> None:
    """Neither with us nor with the processes they were bound to."""
    [friend, *_] = living(link)

    def life() -> None:
        with ours.mailbox("short") as box:
            box.alias()
            box.link(friend)
            box.monitor(friend)
            box.demonitor(box.monitor(friend))
            missing = box.monitor(("nobody", node.name))
            assert box.receive(WAIT) == Down(missing, (Atom("nobody"), Atom(node.name)), Atom("noproc"))
            box.spawn(node.name, "erlang", "abs", [-1], link=True, timeout=WAIT)
            assert isinstance(box.receive(WAIT), Exit)

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    for _ in range(20):
        life()
    before = objects()
    for _ in range(LIVES):
        life()
    assert objects() - before < LIVES  # less than one of each life
    told = dict(
        link.rpc("erlang", "process_info", [friend, [Atom("links"), Atom("monitored_by"), Atom("message_queue_len")]])
    )
    assert told == {"links": [], "monitored_by": [], "message_queue_len": 0}
