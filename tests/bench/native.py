"""Erlang code of ours on a node, compiled there."""

from __future__ import annotations

from harness.dist import Connection


def load_module(link: Connection, source: str) -> None:
    """Compile and load the module `source` on the node at the other end of `link`."""
    forms = []
    for text in source.strip().split(".\n"):
        _ok, tokens, _line = link.rpc("erl_scan", "string", [list(f"{text.rstrip('.')}.".encode())])
        forms.append(link.rpc("erl_parse", "parse_form", [tokens])[1])
    _ok, module, beam = link.rpc("compile", "forms", [forms], timeout=30)
    link.rpc("code", "load_binary", [module, list(module.encode()), beam])
