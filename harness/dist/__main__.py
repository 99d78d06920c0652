"""Small tools for people: ``python -m harness.dist ping n1@host``, ``... call n1@host lists seq 1 10``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from harness.dist import dial
from harness.dist.node import Node
from harness.dist.tls import Credentials
from harness.errors import HarnessError, RemoteError, UsageError, shown
from harness.etf import Term
from harness.etf.show import show
from harness.etf.syntax import read

_HOST = "harness"  # of the name that the node gives us
_LONGEST = 1_000_000  # seconds
_TERM = re.compile(r"""\s*([\[{"#]|<<|-?\d[\d_]*(\.\d+([eE][+-]?\d+)?)?\s*\.?\s*\Z)""")  # nobody means a string by that


class _Seconds(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:  # NaN is in every range
            self.fail("nan is no number of seconds.", param, ctx)
        return seconds


_port = click.IntRange(1, 65535)
_seconds = _Seconds(0, _LONGEST, min_open=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Talk to a running Erlang node as a hidden node."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--cookie", help="The node's cookie; by default what stands in ~/.erlang.cookie, as for erl."),
        click.option("--name", default=_HOST, help="Our own name, me@host; by default the node makes one up."),
        click.option("--host", help="Where to dial; by default the host in the node's name."),
        click.option("--port", type=_port, help="The node's distribution port; by default EPMD is asked."),
        click.option("--epmd-port", type=_port, default=4369, show_default=True, help="Where EPMD listens there."),
        click.option("--timeout", type=_seconds, default=5.0, show_default=True, help="Seconds for each step."),
        click.option("--tls", type=Path, help="Folder with ca.pem, cert.pem and key.pem, for -proto_dist inet_tls."),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("node")
@_options
def ping(node: str, timeout: float, **options: Any) -> None:
    """Is NODE there, and does it take our cookie? pong and how long its answer took (exit 0), or pang (exit 1)."""
    try:
        with _told(), _connected(node, timeout=timeout, **options) as ours:
            seconds = ours.ping(node, timeout)
    except SystemExit:
        click.echo("pang")
        raise
    click.echo(f"pong {seconds * 1000:.2f} ms")


@main.command()
@click.argument("host", default="localhost")
@click.option("--epmd-port", type=_port, default=4369, show_default=True, help="Where EPMD listens there.")
@click.option("--timeout", type=_seconds, default=5.0, show_default=True, help="Seconds for all of it.")
def names(host: str, epmd_port: int, timeout: float) -> None:
    """Which nodes does the EPMD at HOST know? As ``epmd -names``."""
    with _told():
        for name, port in dial.names(host, epmd_port, timeout=timeout).items():
            click.echo(f"name {name} at port {port}")


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("module")
@click.argument("function")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@_options
def call(node: str, module: str, function: str, arguments: tuple[str, ...], timeout: float, **options: Any) -> None:
    """Call MODULE:FUNCTION(ARGUMENTS...) at NODE and print what it returns.

    Each argument is read as an Erlang term: 42, 2.5, atom, "string", <<"binary">>, [1,2], {a,b}, #{a => 1},
    fun lists:reverse/1. What does not begin as one is taken as a string. What the function prints is shown nowhere.
    """
    with _told():
        terms = [_term(text) for text in arguments]
        with _connected(node, timeout=timeout, **options) as ours:
            click.echo(show(ours.connections[node].erpc(module, function, terms, timeout)))


def _term(text: str) -> Term:
    try:
        return read(text)
    except ValueError as error:
        if _TERM.match(text):
            raise UsageError(
                "call", f"{shown(text)}: {error}", "a string that begins so is written in quotes"
            ) from None
        return [ord(character) for character in text]


@contextmanager
def _connected(
    peer: str,
    *,
    cookie: str | None,
    name: str,
    host: str | None,
    port: int | None,
    epmd_port: int,
    timeout: float,
    tls: Path | None,
) -> Iterator[Node]:
    context = None if tls is None else Credentials.read(tls).client_context()
    with Node(name, cookie or _own_cookie(), tls=context) as ours:
        ours.connect(peer, host=host, port=port, epmd_port=epmd_port, timeout=timeout)
        yield ours


def _own_cookie() -> str:
    path = Path.home() / ".erlang.cookie"
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cookie", f"{path}: {error}", "give the node's cookie with --cookie") from error


@contextmanager
def _told() -> Iterator[None]:
    """An error is one line, and exit code 1."""
    try:
        yield
    except RemoteError as error:
        click.echo(f"{error.node}: {error.operation}: {error.klass}: {show(error.reason)}", err=True)
        raise SystemExit(1) from error
    except HarnessError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main(prog_name="python -m harness.dist")
