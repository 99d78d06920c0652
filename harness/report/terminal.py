"""What a person sees while a run lasts, and the verdict at its end.

On a terminal a display that is redrawn four times a second, with events scrolling above it; elsewhere one plain line
per event and a line of figures every few seconds. NO_COLOR and TERM=dumb are honoured.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live as Display
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.checkers import Verdict
from harness.checkers.words import duration, printable
from harness.history import FaultRecord, History, Mark
from harness.report.current import Current, Reader, Source
from harness.report.ending import Ending
from harness.report.events import involved, line
from harness.report.told import verdict_lines, verdict_text
from harness.scenario.plan import Plan
from harness.store import RunDir

__all__ = ["Live", "print_verdict", "verdict_text"]

_STYLES: Final = {
    "PASS": "bold green",
    "FAIL": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "ABORTED": "bold red",
    "strong": "bold",
    "fail": "red",
    "unknown": "yellow",
    "warn": "yellow",
    "plain": "",
    "faint": "dim",
}
_STATUS_EVERY: Final = 5.0  # s between lines of figures where there is no terminal
_READ_EVERY: Final = 1.0


class _Console(Console):
    """Whoever closes the pipe early (``| head``) has seen enough; the run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Live:
    """The face of one run. Its methods may be called from any thread; nothing they do ends the run."""

    def __init__(
        self,
        plan: Plan,
        rundir: RunDir,
        *,
        quiet: bool = False,
        to_stderr: bool = False,
        console: Console | None = None,
    ) -> None:
        self._plan = plan
        self._rundir = rundir
        self._quiet = quiet
        self._console = console if console is not None else _Console(stderr=to_stderr, highlight=False)
        self._began = time.monotonic()
        self._loaded: float | None = None
        self._phase = "starting"
        self._active: dict[str, str] = {}
        self._reader: Reader | None = None
        self._current = Current()
        self._read_at = 0.0
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._display: Display | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal and not quiet:
            self._display = Display(
                get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
            )

    def __enter__(self) -> Live:
        self._say("strong", f"{self._plan.name}: {self._plan.description or 'run ' + self._rundir.run_id}")
        if self._display is not None:
            self._display.start()
        elif not self._quiet:
            threading.Thread(target=self._status_lines, name="status", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._ended.set()
        display, self._display = self._display, None
        if display is not None:
            display.stop()

    # --- told by the run ---

    def progress(self, text: str) -> None:
        """A step of the preparations."""
        self._say("faint", text)

    def serving(self, host: str, port: int, wanted: int) -> None:
        taken = f" (port {wanted} was taken)" if wanted not in (0, port) else ""
        self._say("plain", f"metrics at http://{host}:{port}/metrics{taken}")

    def web(self, url: str) -> None:
        self._say("plain", f"web UI at {url}")

    def follow(self, metrics: Source) -> None:
        """Show these figures from now on."""
        with self._lock:
            self._reader = Reader(metrics)

    def on_event(self, event: Any) -> None:
        """Listener for the run's bus."""
        with self._lock:
            match event:
                case Mark(name="phase"):
                    self._phase = str(event.detail.get("phase"))
                    if self._phase == "load":
                        self._loaded = event.time / 1e9
                case FaultRecord(stage="injecting"):
                    self._active[event.step] = f"{event.kind} {involved(event.step, event.targets, self._plan)}"
                case FaultRecord(stage="healed" | "not_healed" | "failed" | "skipped" | "not_bitten"):
                    self._active.pop(event.step, None)
                case FaultRecord(stage="bit", kind="recover" | "rpc"):
                    self._active.pop(event.step, None)
        told = line(event, self._plan)
        if told is not None:
            self._say(*told)

    def kept(self, _cluster: object) -> None:
        """The containers stay."""
        run = self._rundir.run_id
        self._say(
            "plain", f"kept the cluster: `harness console {run}` joins it, `harness clean --run {run}` removes it"
        )

    def verdict(self, verdict: Verdict, history: History, ending: Ending | None = None) -> None:
        """The end of the story; also told when quiet."""
        self._stop()
        if not self._quiet:
            self._console.print()
        print_verdict(verdict, history, self._rundir.path, self._console, ending)

    # --- lines ---

    def _now(self) -> str:
        loaded = self._loaded
        if loaded is None:
            return f"{'':>7}"
        return f"{time.monotonic() - loaded:6.1f}s"

    def _say(self, style: str, text: str) -> None:
        if not self._quiet:
            row = Text.assemble((f"{self._now()}  ", "dim"), (printable(text), _STYLES[style]))
            self._console.print(row, soft_wrap=True)

    def _status_lines(self) -> None:
        while not self._ended.wait(_STATUS_EVERY):
            with self._lock:
                current = self._read()
                if self._phase == "load" and self._reader is not None:
                    self._say("plain", ", ".join(_in_words(current)))

    def _read(self) -> Current:
        now = time.monotonic()
        if self._reader is not None and now - self._read_at >= _READ_EVERY:
            self._current = self._reader.read(now)
            self._read_at = now
        return self._current

    # --- the display ---

    def _render(self) -> RenderableType:
        with self._lock:
            current = self._read()
            rows = Table.grid(padding=(0, 2))
            rows.add_column(style="dim", no_wrap=True)
            rows.add_column()
            rows.add_row(self._phase, self._bar())
            if self._reader is not None:
                for label, text in _rows(current):
                    rows.add_row(label, text)
            if self._active:
                rows.add_row("faults", Text(printable(", ".join(self._active.values())), style="bold red"))
            return Group(Text(), rows)

    def _bar(self) -> RenderableType:
        if self._loaded is None or self._phase != "load":
            return Text(duration(time.monotonic() - self._began), style="dim")
        elapsed = min(time.monotonic() - self._loaded, self._plan.duration)
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=self._plan.duration, completed=elapsed, width=40),
            Text(f"{elapsed:.0f} of {self._plan.duration:g} s"),
        )
        return grid


def _rows(current: Current) -> list[tuple[str, Text]]:
    rate = Text(f"{current.rates.get('ok', 0.0):,.0f} ok/s")
    for outcome, style, said in (("fail", "red", "failed/s"), ("unknown", "yellow", "unknown/s")):
        if n := current.rates.get(outcome, 0.0):
            rate.append(f"   {n:,.0f} {said}", style)
    rate.append(f"   {current.in_flight} in flight", "dim")
    rows = [("rate", rate)]
    rows.append(("latency", Text(f"p50 {duration(current.p50)}   p99 {duration(current.p99)}")))
    reasons = [f"{reason} {n:,}" for (_, reason), n in sorted(current.reasons.items(), key=lambda item: -item[1])[:4]]
    if reasons:
        rows.append(("errors", Text(printable("   ".join(reasons)), style="yellow")))
    if current.lag_p50 is not None or current.backlog:
        lag = Text(f"p50 {duration(current.lag_p50)}   p99 {duration(current.lag_p99)}")
        if current.backlog:
            lag.append("   backlog " + "  ".join(f"{n} {count:,}" for n, count in current.backlog.items()), "yellow")
        rows.append(("lag", lag))
    nodes = Text()
    for node, up in sorted(current.nodes.items()):
        nodes.append(f"{printable(node)} {'up' if up else 'down'}   ", "green" if up else "bold red")
    if current.nodes:
        rows.append(("nodes", nodes))
    return rows


def _in_words(current: Current) -> list[str]:
    told = [f"{current.rates.get('ok', 0.0):,.0f} ok/s"]
    told += [f"{n:,.0f} {o}/s" for o in ("fail", "unknown") if (n := round(current.rates.get(o, 0.0)))]
    told.append(f"p50 {duration(current.p50)}, p99 {duration(current.p99)}")
    if current.lag_p99 is not None:
        told.append(f"lag p99 {duration(current.lag_p99)}")
    if current.backlog:
        told.append("backlog " + " ".join(f"{node} {n:,}" for node, n in current.backlog.items()))
    down = [node for node, up in current.nodes.items() if not up]
    if down:
        told.append(f"down: {' '.join(down)}")
    return told


def print_verdict(
    verdict: Verdict, history: History, folder: Path, console: Console | None = None, ending: Ending | None = None
) -> None:
    """The verdict in colour where the terminal has it: what ``harness check`` prints."""
    out = console if console is not None else Console(highlight=False)
    for style, text in verdict_lines(verdict, history, folder, ending):
        out.print(Text(printable(text), style=_STYLES[style]), soft_wrap=True)
