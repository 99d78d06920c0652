"""``make fuzz``: every target, or those named, guided by coverage, for a bounded time each.

    python -m tests.fuzz [TARGET ...] [--seconds 60] [--keep]

Needs atheris (the extra `fuzz`). What is found gathers in build/fuzz/TARGET and is where the next run starts. With
--keep the inputs that reach something new, as few as will do, are added to the committed corpus. An input that breaks
a target is written to build/fuzz/TARGET.crash-* and the exit code is 1; add it to the corpus together with the repair.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

BUILD = Path(__file__).parents[2] / "build" / "fuzz"


def fuzz(name: str, arguments: list[str]) -> None:
    """This process becomes the fuzzer of one target; does not return."""
    import atheris

    # The pure decoder's coverage leads the compiled one, too: they take the same ways.
    with atheris.instrument_imports(include=["harness.etf", "harness.dist"]):
        from .targets import TARGETS
    atheris.Setup([" ".join(fuzzer(name)), *arguments], TARGETS[name], internal_libfuzzer=True)
    atheris.Fuzz()


def fuzzer(name: str) -> list[str]:
    """The command; a merge starts its own processes by it, too."""
    return [sys.executable, "-m", "tests.fuzz", "--libfuzzer", name, "--"]


def run(name: str, seconds: int, keep: bool) -> int:
    """One target, in a process of its own: its exit code."""
    from .targets import read_corpus, write_corpus

    print(f"\n== {name}: {seconds} s", flush=True)
    found, known = BUILD / name, BUILD / f"{name}.known"
    unpack(found, ())
    unpack(known, read_corpus(name))
    limits = [f"-max_total_time={seconds}", "-max_len=2048", "-timeout=10", "-rss_limit_mb=1024"]
    shown = ["-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={found}."]
    code = subprocess.call([*fuzzer(name), *limits, *shown, str(found), str(known)])
    if keep and code == 0:
        code = subprocess.call([*fuzzer(name), "-merge=1", "-max_len=2048", "-verbosity=0", str(known), str(found)])
        write_corpus(name, (path.read_bytes() for path in known.iterdir()))
    return code


def unpack(folder: Path, inputs: Iterable[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--libfuzzer", metavar="TARGET", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.libfuzzer:
        fuzz(given.libfuzzer, given.targets)
    from .targets import TARGETS

    codes = [run(name, given.seconds, given.keep) for name in given.targets or TARGETS]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
