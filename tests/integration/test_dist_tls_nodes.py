"""Distribution over TLS against real nodes of OTP 25 and 27: calls, nodes among themselves, everyone's refusals."""

from __future__ import annotations

import io
import re
import tarfile
import threading
from collections.abc import Callable
from typing import Any

import pytest
from commands import wait_until
from nodes import COOKIE, ErlangNode, asleep

from harness.cluster.certificates import FLAGS, FOLDER, Authority, packed
from harness.dist import Node
from harness.dist.tls import Credentials
from harness.errors import ConnectionLost, HandshakeRefused, HarnessError, NotSent
from harness.etf import Atom

pytestmark = pytest.mark.docker

RUN, STRANGERS = Authority(), Authority()
OURS = RUN.credentials("harness")
MEGABYTE = 1_000_000
RENEGOTIATE = "{renegotiate_at, 200}"  # records; in TLS 1.3 it is key_update_at, and bytes
PORT = 9100
ALONE = (
    # without EPMD: everybody listens on the same port, we as well
    *("-start_epmd", "false", "-erl_epmd_port", str(PORT)),
    # s after which a node gives up another that does not speak its language; no less, as a handshake of TLS takes long
    # where the machine is busy
    *("-kernel", "net_setuptime", "4"),
)


def prepared(authority: Authority, *options: str) -> Callable[[Any, str], None]:
    """Certificates of this authority, and these options beside the usual ones on both sides."""

    def prepare(container: Any, host: str) -> None:
        archive = packed(authority.credentials(host))
        container.put_archive("/", archive)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            conf = tar.extractfile(f"{FOLDER}/ssl_dist.conf".lstrip("/"))
            assert conf is not None
            text = conf.read().decode().replace("{verify,", ", ".join((*options, "{verify,"))).encode()
        changed = io.BytesIO()
        with tarfile.open(fileobj=changed, mode="w") as tar:
            entry = tarfile.TarInfo("ssl_dist.conf")
            entry.size, entry.mode = len(text), 0o444
            tar.addfile(entry, io.BytesIO(text))
        container.put_archive(FOLDER, changed.getvalue())

    return prepare


@pytest.fixture(scope="module")
def nodes(start_erlang: Any) -> dict[int, ErlangNode]:
    """OTP 25 as it comes, which is TLS 1.2, OTP 27 with TLS 1.3 as well; both want new keys all the time."""
    newer = ("{versions, ['tlsv1.3', 'tlsv1.2']}", f"{{key_update_at, {MEGABYTE}}}")
    context = OURS.client_context()
    return {
        25: start_erlang(25, *FLAGS.split(), *ALONE, prepare=prepared(RUN, RENEGOTIATE), tls=context, port=PORT),
        27: start_erlang(27, *FLAGS.split(), *ALONE, prepare=prepared(RUN, *newer), tls=context, port=PORT),
    }


@pytest.fixture(params=(25, 27))
def node(request: pytest.FixtureRequest, nodes: dict[int, ErlangNode]) -> ErlangNode:
    return nodes[request.param]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    outcomes: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        try:
            outcomes[index] = calls[index]()
        except HarnessError as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_calls(node: ErlangNode) -> None:
    link: Any = node.connect()
    assert link._stream._tls.version() == {25: "TLSv1.2", 27: "TLSv1.3"}[node.otp]
    for call in (link.rpc, link.erpc):
        assert call("erlang", "system_info", [Atom("otp_release")]) == list(str(node.otp).encode())
        assert call("lists", "seq", [1, 1000]) == list(range(1, 1001))
    wait_until(lambda: link.rpc("erlang", "nodes", [Atom("hidden")]) == ["harness@harness"], "the end of others")
    link.close()


def test_many_at_once_while_keys_are_renewed(node: ErlangNode) -> None:
    link = node.connect()

    def calls(seed: int) -> bool:
        return all(link.rpc("erlang", "+", [seed, n], timeout=60) == seed + n for n in range(200)) and all(
            link.rpc("erlang", "byte_size", [bytes(size)], timeout=60) == size for size in (MEGABYTE, 2 * MEGABYTE)
        )

    assert at_once(*(lambda seed=seed: calls(seed) for seed in range(8))) == [True] * 8  # type: ignore[misc]
    link.close()


def test_large_terms_pass_both_ways_at_once(node: ErlangNode) -> None:
    link = node.connect()
    blob = bytes(20 * MEGABYTE)
    sent, got, small = at_once(
        lambda: link.rpc("erlang", "byte_size", [blob], timeout=60),
        lambda: link.rpc("binary", "copy", [b"x", len(blob)], timeout=60),
        lambda: [link.rpc("erlang", "abs", [-n], timeout=60) for n in range(100)],
    )
    assert (sent, got, small) == (len(blob), b"x" * len(blob), list(range(100)))
    link.close()


def test_nodes_speak_tls_with_each_other_and_with_nobody_else(nodes: dict[int, ErlangNode], start_erlang: Any) -> None:
    links = {otp: node.connect() for otp, node in nodes.items()}
    # Each attempt has the net_setuptime of above.
    wait_until(lambda: links[25].rpc("net_adm", "ping", [Atom(nodes[27].name)], 60.0) == "pong", "the connection")
    assert nodes[27].name in links[25].rpc("erlang", "nodes")

    plain = start_erlang(27, *ALONE, port=PORT)
    stranger = start_erlang(
        27,
        *FLAGS.split(),
        *ALONE,
        prepare=prepared(STRANGERS),
        port=PORT,
        tls=STRANGERS.credentials("harness").client_context(),
    )
    for other in (plain, stranger):
        link = other.connect()
        assert link.rpc("net_adm", "ping", [Atom(nodes[25].name)], 60.0) == "pang"
        assert links[25].rpc("net_adm", "ping", [Atom(other.name)], 60.0) == "pang"
        link.close()

    with pytest.raises(NotSent, match="does it run with -proto_dist inet_tls"):
        plain.connect(tls=OURS.client_context(), timeout=60.0)
    for link in links.values():
        link.close()


def test_a_node_dials_us(node: ErlangNode) -> None:
    link = node.connect(local="watcher@harness")
    gateway = node.address.rpartition(".")[0] + ".1"
    ping = ("net_adm", "ping", [Atom("harness@harness")], 60.0)
    with Node("harness@harness", COOKIE, tls=OURS.client_context(), ticktime=8.0) as ours:
        ours.listen(gateway, PORT, register=False, tls=OURS.server_context())
        wait_until(lambda: link.rpc(*ping) == "pong", "the connection")
        known = {"harness@harness", "watcher@harness"}
        wait_until(lambda: set(link.rpc("erlang", "nodes", [Atom("hidden")])) == known, "the end of others")
        standing = ours.connect(node.name, host="127.0.0.1", port=1)  # the one that the node has set up
        assert [standing.rpc("erlang", "abs", [-n]) for n in range(500)] == list(range(500))
        link.rpc("net_kernel", "disconnect", [Atom("harness@harness")])
    with Node("harness@harness", COOKIE, ticktime=8.0) as stranger:
        certificate = STRANGERS.credentials("harness")
        stranger.listen(gateway, PORT, register=False, tls=certificate.server_context())
        assert link.rpc(*ping) == "pang"
    link.close()


def test_whom_a_node_does_not_take(node: ErlangNode) -> None:
    stranger = STRANGERS.credentials("harness")
    ours_of_a_stranger = Credentials(OURS.ca, stranger.cert, stranger.key).client_context()
    with pytest.raises(HandshakeRefused, match="does not take our certificate: unknown ca") as refused:
        node.connect(tls=ours_of_a_stranger, local="bad@harness")
    assert refused.value.reason == "tls_refused"

    with pytest.raises(HandshakeRefused, match="the node speaks TLS; connect with tls") as refused:
        node.connect(tls=None, local="bad@harness")
    assert refused.value.reason == "tls"

    with pytest.raises(HandshakeRefused, match="cookies differ") as refused:
        node.connect(cookie="wrong", local="bad@harness")
    assert refused.value.reason == "cookie"


def test_what_node_we_do_not_take(node: ErlangNode) -> None:
    with pytest.raises(HandshakeRefused, match="of an authority that is not trusted here") as refused:
        node.connect(tls=STRANGERS.credentials("harness").client_context(), local="bad@harness")
    assert refused.value.reason == "tls_authority"

    with pytest.raises(HandshakeRefused, match="for another host: Hostname mismatch") as refused:
        node.connect(peer=f"{node.host}@elsewhere", local="bad@harness")
    assert refused.value.reason == "tls_name"


def test_a_killed_node_is_noticed(start_erlang: Any) -> None:
    victim = start_erlang(25, *FLAGS.split(), prepare=prepared(RUN), tls=OURS.client_context())
    link, watcher = victim.connect(), victim.connect(local="watcher@harness")

    def wait() -> None:
        link.rpc("timer", "sleep", [Atom("infinity")], timeout=None)

    def kill() -> None:
        wait_until(lambda: asleep(watcher) == 1, "the call at work")
        victim.container.kill("SIGKILL")

    lost, _ = at_once(wait, kill)
    assert isinstance(lost, ConnectionLost)
    assert re.search("closed by the node|read failed", str(lost))
