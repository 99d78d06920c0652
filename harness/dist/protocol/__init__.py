"""The chapter Distribution Protocol of the ERTS User's Guide, sans-I/O: bytes in, values out, and the other way round.

A module each for what the chapter has a section for: EPMD, flags, handshake, packets, operations (control messages),
the distribution header.
"""
