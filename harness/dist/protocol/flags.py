"""Distribution flags: what a node can do (ERTS User's Guide, Distribution Protocol: Distribution Flags).

The bits are those that nodes of OTP 25 to 27 send and read (``erts_internal:get_dflags()``).
"""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """Capabilities; both sides use what both offer. NAME_ME and PUBLISHED are no capabilities but wishes."""

    PUBLISHED = 1 << 0  # a visible node, to be part of the global namespace
    ATOM_CACHE = 1 << 1  # obsolete
    EXTENDED_REFERENCES = 1 << 2
    DIST_MONITOR = 1 << 3
    FUN_TAGS = 1 << 4
    DIST_MONITOR_NAME = 1 << 5
    HIDDEN_ATOM_CACHE = 1 << 6  # obsolete
    NEW_FUN_TAGS = 1 << 7
    EXTENDED_PIDS_PORTS = 1 << 8
    EXPORT_PTR_TAG = 1 << 9
    BIT_BINARIES = 1 << 10
    NEW_FLOATS = 1 << 11
    UNICODE_IO = 1 << 12
    DIST_HDR_ATOM_CACHE = 1 << 13
    SMALL_ATOM_TAGS = 1 << 14
    UTF8_ATOMS = 1 << 16
    MAP_TAG = 1 << 17
    BIG_CREATION = 1 << 18
    SEND_SENDER = 1 << 19
    BIG_SEQTRACE_LABELS = 1 << 20
    EXIT_PAYLOAD = 1 << 22
    FRAGMENTS = 1 << 23
    HANDSHAKE_23 = 1 << 24
    UNLINK_ID = 1 << 25
    MANDATORY_25_DIGEST = 1 << 26  # stands for all of MANDATORY_25; the chapter says bit 36, nodes use this one
    SPAWN = 1 << 32
    NAME_ME = 1 << 33  # in a name message: the acceptor is to give the initiator its name
    V4_NC = 1 << 34
    ALIAS = 1 << 35


MANDATORY_25 = (
    Flag.EXTENDED_REFERENCES | Flag.FUN_TAGS | Flag.NEW_FUN_TAGS | Flag.EXTENDED_PIDS_PORTS | Flag.EXPORT_PTR_TAG
    | Flag.BIT_BINARIES | Flag.NEW_FLOATS | Flag.UTF8_ATOMS | Flag.MAP_TAG | Flag.BIG_CREATION | Flag.HANDSHAKE_23
)  # fmt: skip
"""Without these OTP 25 refuses; we, too: it is the oldest OTP we know."""

MANDATORY_26 = MANDATORY_25 | Flag.UNLINK_ID | Flag.V4_NC
"""Without these OTP 26 and 27 refuse."""

HIDDEN = (
    MANDATORY_26 | Flag.MANDATORY_25_DIGEST
    | Flag.DIST_MONITOR | Flag.DIST_MONITOR_NAME | Flag.EXIT_PAYLOAD | Flag.SPAWN | Flag.ALIAS
)  # fmt: skip
"""What we offer. Left out on purpose: PUBLISHED (we are hidden), DIST_HDR_ATOM_CACHE and FRAGMENTS (plain packets, see
`HEADER`), SEND_SENDER (what arrives for a call looks the same then, whoever sends it).
"""

VISIBLE = HIDDEN | Flag.PUBLISHED

HEADER = Flag.DIST_HDR_ATOM_CACHE | Flag.FRAGMENTS
"""Offered too by who wants distribution headers (`header`). FRAGMENTS is of no use without the other."""


def expanded(flags: int) -> int:
    """`flags` with what MANDATORY_25_DIGEST stands for."""
    return flags | MANDATORY_25 if flags & Flag.MANDATORY_25_DIGEST else flags


def lacking(flags: int, wanted: Flag) -> str:
    """The names of `wanted` that are not in `flags`, separated by commas; "" when all are."""
    return ", ".join(str(flag.name) for flag in wanted & ~expanded(flags))
