"""Scripts for cuts as text, and what nft answers: recorded, and hostile."""

from __future__ import annotations

import json
from ipaddress import AddressValueError
from typing import Any

import pytest

from harness.errors import HelperFailed
from harness.faults import nft

# Recorded from nft 1.0.6 on a node that hears nothing of 198.18.0.3 (a second element had expired).
RECORDED = """{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version":
1}}, {"table": {"family": "inet", "name": "harness", "handle": 1}}, {"counter": {"family": "inet", "name": "cut_s1",
"table": "harness", "handle": 6, "packets": 12, "bytes": 880}}, {"set": {"family": "inet", "name": "arrived", "table":
"harness", "type": "ipv4_addr", "handle": 1, "size": 4096, "elem": [{"elem": {"val": "198.18.0.4", "counter":
{"packets": 2, "bytes": 58}}}]}}, {"set": {"family": "inet", "name": "cut_s1", "table": "harness", "type": "ipv4_addr",
"handle": 4, "flags": ["timeout"], "elem": [{"elem": {"val": "198.18.0.3", "timeout": 4, "expires": 3}}]}}, {"set":
{"family": "inet", "name": "dropped_s1", "table": "harness", "type": "ipv4_addr", "handle": 5, "size": 4096, "elem":
[{"elem": {"val": "198.18.0.3", "counter": {"packets": 3, "bytes": 87}}}]}}, {"chain": {"family": "inet", "table":
"harness", "name": "arrivals", "handle": 2, "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}]}"""


def test_recorded_table() -> None:
    table = nft.parse(RECORDED)
    assert table.cuts == {"cut_s1": frozenset({"198.18.0.3"})}
    assert table.dropped == {"cut_s1": {"198.18.0.3": 3}}
    assert table.hits == {"cut_s1": 12}
    assert table.arrived == {"198.18.0.4": 2}


def test_set_without_elements() -> None:
    empty = {"set": {"family": "inet", "name": "cut_s1", "table": "harness", "type": "ipv4_addr", "handle": 4}}
    assert nft.parse(json.dumps({"nftables": [empty]})).cuts == {"cut_s1": frozenset()}


def test_other_tables_are_not_ours() -> None:
    theirs = {"set": {"family": "ip", "name": "cut_x", "table": "nat", "elem": ["198.18.0.3"]}}
    assert nft.parse(json.dumps({"nftables": [theirs]})) == nft.TableState()


def _set(**changes: Any) -> str:
    entry = {"family": "inet", "name": "cut_a", "table": "harness", "elem": ["198.18.0.3"], **changes}
    return json.dumps({"nftables": [{"set": entry}]})


@pytest.mark.parametrize(
    "text",
    [
        "", "Error: No such file or directory", "null", "[]", "{}", '{"nftables": null}', '{"nftables": [1]}',
        '{"nftables": {"set": 1}}', '{"nftables": [{"set": null}]}', '{"nftables": [{"counter": {"name": "x"}}]}',
        RECORDED[:500], "[" * 100_000, "\x00\xff",
        _set(elem=7), _set(elem=[None]), _set(elem=[{"elem": {"val": "example.org"}}]),
        _set(elem=[{"elem": {"val": {"prefix": {"addr": "198.18.0.0", "len": 15}}}}]),
        _set(elem=[{"elem": {"val": "198.18.0.3", "counter": {"packets": "many"}}}]),
    ],
)  # fmt: skip
def test_hostile_answers_are_one_error(text: str) -> None:
    with pytest.raises(HelperFailed) as caught:
        nft.parse(text)
    assert "\n" not in str(caught.value)


def test_renewal_survives_expiry_and_old_kernels() -> None:
    lines = nft.renew("cut_a", ["198.18.0.3"], 4.0).splitlines()
    assert [line.split()[0] for line in lines] == ["add", "delete", "add"]
    assert lines[0] == lines[2] == "add element inet harness cut_a { 198.18.0.3 timeout 4000ms }"


def test_nothing_but_our_table_is_flushed_or_deleted() -> None:
    scripts = [nft.cut("cut_a", ["198.18.0.3"], 4.0), nft.renew("cut_a", ["198.18.0.3"], 4.0)]
    for line in "\n".join([*scripts, nft.heal("cut_a"), nft.standing()]).splitlines():
        verb, what, family, table, *_ = line.split()
        assert (family, table) == ("inet", "harness"), line
        assert (verb, what) != ("flush", "table"), line
        assert "ruleset" not in line


@pytest.mark.parametrize("address", ["n1", "::1", "198.18.0.3; flush ruleset", "198.18.0.0/15", "", "$(reboot)"])
def test_only_addresses_get_into_a_script(address: str) -> None:
    for script in (lambda: nft.cut("cut_a", [address], 4.0), lambda: nft.datagrams([address])):
        with pytest.raises(AddressValueError):
            script()
