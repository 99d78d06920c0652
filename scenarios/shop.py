"""A locustfile of one's own, in two ways.

With plain Locust against any node you can reach (the table must be there):

    HARNESS_COOKIE=secret locust -f shop.py --host n1@127.0.0.1 --headless --users 5 --run-time 10s

In a scenario, where nodes and cookie are assigned and every operation is recorded and judged:

    harness run locustfile.yml
"""

from __future__ import annotations

from locust import between, task

from harness.load.user import Atom, ErlangUser


class Shopper(ErlangUser):
    """Looks around a lot and orders now and then."""

    wait_time = between(0.005, 0.02)

    @task(5)
    def browse(self) -> None:
        # Anything exported by any module of the node. str is an Erlang binary, Atom("x") an atom.
        assert len(self.client.rpc("lists", "seq", [1, 10])) == 10
        self.client.rpc("erlang", "system_info", [Atom("otp_release")], name="otp release")

    @task
    def order(self) -> None:
        # A row {kv, Key, <<"one book">>} under a key of its own; an operation that is not ok ends the task here.
        key = self.client.write("kv", "one book", "transaction")
        # dirty: this node's own copy, which need not have the row yet if another node committed first
        self.client.read("kv", key, "async_dirty")
