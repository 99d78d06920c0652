"""nftables scripts for cuts, as text, and what ``nft -j`` answers, as data. Pure.

One table of ours, ``inet harness``, stands in each node's network namespace; nothing else there is ever touched
(flushing the ruleset would erase Docker's DNS NAT). In it:

- ``cut_<fault>``: a set of source addresses whose elements expire in the kernel, a counter, and a base chain (input,
  priority -10) that drops what comes from them. The receiver drops: a node's set says whom it no longer hears.
- ``dropped_<fault>``: per source, the verification datagrams (UDP to port 9) that matched the set. It is counted in a
  chain of its own (priority -20), before any drop, so that two overlapping faults each see the datagram.
- ``arrived``: per source, the verification datagrams that no cut dropped.

Each fault has base chains of its own because those can be deleted by name; a rule in a shared chain could not be.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from harness.errors import HelperFailed

FAMILY: Final = "inet"
TABLE: Final = "harness"
PORT: Final = 9  # discard
_PREFIX: Final = "cut_"
_OURS: Final = f"{FAMILY} {TABLE}"
_SIZE: Final = 4096  # sources a counting set can hold
_LONGEST: Final = 48


def cut_name(fault: str) -> str:
    """The nft identifier of a fault: different faults get different names, whatever characters they hold."""
    plain = re.sub(r"[^a-z0-9_]", "_", fault.lower())[:_LONGEST]
    if plain == fault:
        return _PREFIX + plain
    return f"{_PREFIX}{plain}_{hashlib.sha256(fault.encode(errors='surrogatepass')).hexdigest()[:12]}"


def _dropped(name: str) -> str:
    return "dropped_" + name.removeprefix(_PREFIX)


def _elements(name: str, sources: Iterable[str], timeout: float | None = None) -> str:
    """``inet harness cut_x { 198.18.0.3 timeout 4000ms, ... }``. Raises ValueError for what is no IPv4 address."""
    suffix = "" if timeout is None else f" timeout {max(1, round(timeout * 1000))}ms"
    listed = ", ".join(f"{ipaddress.IPv4Address(source)}{suffix}" for source in sources)
    return f"{_OURS} {name} {{ {listed} }}"


def _counting_set(name: str) -> str:
    return f"add set {_OURS} {name} {{ type ipv4_addr; size {_SIZE}; flags dynamic; }}"


def _chain(name: str, priority: int) -> list[str]:
    hook = f"type filter hook input priority {priority}; policy accept;"
    return [f"add chain {_OURS} {name} {{ {hook} }}", f"flush chain {_OURS} {name}"]


def standing() -> str:
    """The table and its count of arrivals. Applied again it changes nothing: counts go on."""
    return "\n".join(
        [
            f"add table {_OURS}",
            _counting_set("arrived"),
            *_chain("arrivals", 0),
            # Dropped after counting: nobody listens there, and an ICMP answer would only be noise.
            f"add rule {_OURS} arrivals udp dport {PORT} add @arrived {{ ip saddr counter }} drop",
        ]
    )


def cut(name: str, sources: Sequence[str], timeout: float) -> str:
    """Stop hearing these addresses for ``timeout`` seconds, unless renewed."""
    dropped = _dropped(name)
    return "\n".join(
        [
            standing(),
            f"add set {_OURS} {name} {{ type ipv4_addr; flags timeout; }}",
            _counting_set(dropped),
            f"add counter {_OURS} {name}",
            *_chain(dropped, -20),
            f"add rule {_OURS} {dropped} udp dport {PORT} ip saddr @{name} add @{dropped} {{ ip saddr counter }}",
            *_chain(name, -10),
            f"add rule {_OURS} {name} ip saddr @{name} counter name {name} drop",
            f"add element {_elements(name, sources, timeout)}",
        ]
    )


def renew(name: str, sources: Sequence[str], timeout: float) -> str:
    """Let the elements live ``timeout`` seconds from now.

    Only new kernels refresh a live element in place, and deleting an expired one fails the batch: add makes sure that
    it is there, delete that the next add counts from now. The batch is one transaction; no packet slips through.
    """
    return "\n".join(
        [
            f"add element {_elements(name, sources, timeout)}",
            f"delete element {_elements(name, sources)}",
            f"add element {_elements(name, sources, timeout)}",
        ]
    )


def heal(name: str) -> str:
    """Remove everything of this fault; also right when nothing of it is there. Other faults stay."""
    dropped = _dropped(name)
    lines = [f"add table {_OURS}"]
    for chain in (name, dropped):
        lines += [f"{verb} chain {_OURS} {chain}" for verb in ("add", "flush", "delete")]
    lines += [
        f"add set {_OURS} {name} {{ type ipv4_addr; flags timeout; }}",
        f"delete set {_OURS} {name}",
        _counting_set(dropped),
        f"delete set {_OURS} {dropped}",
        f"add counter {_OURS} {name}",
        f"delete counter {_OURS} {name}",
    ]
    return "\n".join(lines)


# --- as shell commands --------------------------------------------------------------------------------------------


def command(script: str) -> str:
    """A bash command that applies a script in one transaction."""
    assert "'" not in script
    return f"nft '{script}'"


def listing() -> str:
    """A bash command that prints our table as JSON, for ``parse``."""
    return f"nft 'add table {_OURS}' && nft -j list table {_OURS}"


def datagrams(addresses: Iterable[str]) -> str:
    """A bash script that sends one verification datagram to each address; one that cannot leave is not an error."""
    targets = " ".join(str(ipaddress.IPv4Address(address)) for address in addresses)
    return f"for to in {targets}; do echo > /dev/udp/$to/{PORT}; done 2>/dev/null; true"


# --- read back ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableState:
    """Our table as one node's kernel holds it. Addresses are dotted text, counts are datagrams since the cut.

    ``cuts``: name -> addresses not heard now (expired ones are gone from it). ``dropped``: name -> source -> count.
    ``hits``: name -> packets dropped by this cut, of any kind.
    """

    cuts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    hits: Mapping[str, int] = field(default_factory=dict)
    arrived: Mapping[str, int] = field(default_factory=dict)


def parse(text: str) -> TableState:
    """Read the output of ``listing``. Raises HelperFailed when it is not what ``nft -j`` prints."""
    try:
        entries = json.loads(text)["nftables"]
        sets = {s["name"]: _members(s.get("elem", ())) for s in _ours(entries, "set")}
        hits = {c["name"]: int(c["packets"]) for c in _ours(entries, "counter")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = f"nft printed something else than its JSON ({type(error).__name__}: {error})"
        raise HelperFailed("read nft table", cause, "the helper image carries nft 1.0 or newer") from error
    cuts = {name: members for name, members in sets.items() if name.startswith(_PREFIX)}
    return TableState(
        cuts={name: frozenset(members) for name, members in cuts.items()},
        dropped={name: sets.get(_dropped(name), {}) for name in cuts},
        hits=hits,
        arrived=sets.get("arrived", {}),
    )


def _ours(entries: Any, kind: str) -> list[dict[str, Any]]:
    found = [entry[kind] for entry in entries if kind in entry]
    return [e for e in found if e["table"] == TABLE and e["family"] == FAMILY and isinstance(e["name"], str)]


def _members(elements: Any) -> dict[str, int]:
    """Address -> its counter, 0 without one. An element is bare, or wrapped when it carries more than its value."""
    members: dict[str, int] = {}
    for element in elements:
        if isinstance(element, str):
            members[element] = 0
            continue
        value, counter = element["elem"]["val"], element["elem"].get("counter")
        members[str(ipaddress.IPv4Address(value))] = int(counter["packets"]) if counter else 0
    return members
