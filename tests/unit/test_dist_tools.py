"""``python -m harness.dist`` against a node of ours on loopback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tls_pairs import HARNESS, NODE, OTHERS, credentials

from harness.dist import Node
from harness.dist.__main__ import _term, main

OTHERS_HARNESS = credentials("harness", trusts=OTHERS, issuer=OTHERS)


def test_the_cookie_is_that_of_erl_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Node("b@here", "home-made") as node:
        dial = ["b@here", "--host", "127.0.0.1", "--port", str(node.listen(register=False))]
        without = CliRunner().invoke(main, ["ping", *dial])
        assert (without.exit_code, without.stdout) == (1, "pang\n")
        assert "give the node's cookie with --cookie" in without.stderr
        (tmp_path / ".erlang.cookie").write_text("home-made\n")
        ponged = CliRunner().invoke(main, ["ping", *dial])
        assert (ponged.exit_code, ponged.stderr) == (0, "")
        refused = CliRunner().invoke(main, ["call", *dial, "lists", "seq", "1", "2", "--name", "me@here"])
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr == "b@here: erpc lists:seq/2: badrpc: notsup\n"


def test_over_tls(tmp_path: Path) -> None:
    for name, shown in (("ours", HARNESS), ("others", OTHERS_HARNESS)):
        folder = tmp_path / name
        folder.mkdir()
        for part in ("ca", "cert", "key"):
            (folder / f"{part}.pem").write_text(getattr(shown, part))
    with Node("b@n1", "c") as node:
        port = node.listen(register=False, tls=NODE.server_context())
        dial = ["ping", "b@n1", "--host", "127.0.0.1", "--port", str(port), "--cookie", "c"]
        ponged = CliRunner().invoke(main, [*dial, "--tls", str(tmp_path / "ours")])
        assert (ponged.exit_code, ponged.stderr) == (0, "")
        refused = CliRunner().invoke(main, [*dial, "--tls", str(tmp_path / "others")])
        assert (refused.exit_code, refused.stdout) == (1, "pang\n")
        assert "authority that is not trusted here" in refused.stderr
        plain = CliRunner().invoke(main, [*dial, "--timeout", "0.5"])
        assert (plain.exit_code, plain.stdout) == (1, "pang\n")


def test_it_runs_as_a_module() -> None:
    told = subprocess.run([sys.executable, "-m", "harness.dist", "--help"], capture_output=True, text=True, check=True)
    assert "ping" in told.stdout
    assert "call" in told.stdout


def called(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["call", "b@here", "--host", "127.0.0.1", "--cookie", "c", *arguments])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1,2", "the term is not complete"),
        ("{a", "the term is not complete"),
        ("<<1,", "the term is not complete"),
        ("#{a}", "no Erlang term at '}'"),
        ("#Port<0.1>", "no Erlang term at"),
        ('"abc', "no Erlang term at '\"abc'"),
        ("[a] b", "no Erlang term at 'b'"),
        ("1.0e999", "greater than any float"),
        ("1__" + "9" * 5000, "Exceeds the limit|invalid literal"),
    ],
)
def test_what_begins_as_a_term_and_is_none(text: str, why: str) -> None:
    told = called("erlang", "length", "--", text)
    assert (told.exit_code, told.stdout, told.stderr.count("\n")) == (1, "", 1)
    assert re.search(why, told.stderr)


@pytest.mark.parametrize("text", ["Hello there", "192.0.2.7", "10s", "it's", "'tis", "a b", "", "/etc/passwd", "-x"])
def test_what_does_not_begin_as_a_term_is_a_string(text: str) -> None:
    assert _term(text) == list(map(ord, text))


@pytest.mark.parametrize(
    ("option", "value"),
    [("--timeout", each) for each in ("inf", "nan", "-1", "0", "1e10")]
    + [(option, each) for option in ("--port", "--epmd-port") for each in ("0", "99999", "70905")],
)
def test_numbers_out_of_range(option: str, value: str) -> None:
    told = called("erlang", "node", option, value)
    assert told.exit_code == 2
    assert re.search(f"Error: Invalid value for '{option}': .*(range|seconds)", told.stderr)


def test_a_cookie_of_bytes_that_are_no_text() -> None:
    told = called("erlang", "node", "--cookie", "\udcff\udcfe")
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
    assert told.stderr.startswith("cookie: ")


def test_the_help_says_where_output_goes() -> None:
    assert "What the function prints is shown nowhere" in " ".join(called("--help").stdout.split())
