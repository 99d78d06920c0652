"""Which subnet a run takes."""

from __future__ import annotations

import ipaddress

import pytest

from harness.cluster.network import RANGE, Network, free_subnets, routes

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
br-1\t000A12C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""


def test_routes_are_read_without_the_default_one() -> None:
    assert routes(ROUTES) == [ipaddress.IPv4Network("198.18.10.0/24"), ipaddress.IPv4Network("10.0.0.0/8")]


def test_every_subnet_is_offered_once_and_lies_in_the_range() -> None:
    offered = list(free_subnets([], 24, "harness-a"))
    assert len(set(offered)) == len(offered) == 512
    assert all(subnet.subnet_of(RANGE) for subnet in offered)


def test_what_overlaps_a_used_one_is_not_offered() -> None:
    used = ipaddress.IPv4Network("198.18.0.0/16")
    assert all(not subnet.overlaps(used) for subnet in free_subnets([used], 24, "x"))
    assert list(free_subnets([ipaddress.IPv4Network("0.0.0.0/1"), ipaddress.IPv4Network("128.0.0.0/1")], 24, "x")) == []


def test_two_runs_begin_at_different_places() -> None:
    assert next(free_subnets([], 24, "harness-a")) != next(free_subnets([], 24, "harness-b"))


@pytest.mark.parametrize("prefix", [24, 23, 20])
def test_addresses_keep_clear_of_gateway_relay_and_broadcast(prefix: int) -> None:
    network = Network("id", "harness-x", ipaddress.IPv4Network(f"198.18.16.0/{prefix}"))
    addresses = network.addresses(200)
    assert len(set(addresses)) == 200
    assert {network.gateway, network.relay_address, "198.18.16.255"}.isdisjoint(addresses) or prefix < 24
