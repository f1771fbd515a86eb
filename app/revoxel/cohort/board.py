"""What a person sees while a cohort runs: counts, a bar, who is running, failures as they happen, a link."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from revoxel.cohort.ledger import Ledger, State

if TYPE_CHECKING:
    from types import TracebackType

_COLOURS = {"done": "green", "done before": "cyan", "running": "yellow", "failed": "red", "waiting": "dim"}
_MOST_NAMES = 6


class Board:
    """A live board on a terminal; elsewhere, such as in a job's log, one line per task that ends.

    Args:
        console: Where to show it.
        title: First line.
    """

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.title = title
        self.dashboard = ""
        self._start = time.monotonic()
        self._told: set[str] = set()
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Board:
        """Begin."""
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; the last state is shown by `summary`."""
        self._live.stop()

    def opened(self, dashboard: str) -> None:
        """The scheduler is there.

        Args:
            dashboard: Address of its page.
        """
        self.dashboard = dashboard
        if not self.console.is_terminal:
            self.console.print(f"{self.title}; dashboard {dashboard}", soft_wrap=True)

    def changed(self, ledger: Ledger, running: list[str], n_workers: int) -> None:
        """Show how far the work is, and tell each end once.

        Args:
            ledger: The account.
            running: Names of the running tasks; empty where unknown.
            n_workers: Workers that are there; 0 where unknown.
        """
        self._tell(ledger)
        if running:
            self._live.update(self.picture(ledger, running, n_workers))

    def _tell(self, ledger: Ledger) -> None:
        """Failures on a terminal, every end elsewhere."""
        for name, entry in ledger.entries.items():
            ended = entry.state is State.FAILED or (entry.state is State.DONE and entry.seconds is not None)
            if not ended or name in self._told:
                continue
            self._told.add(name)
            if entry.state is State.FAILED:
                self.console.print(f"[red]failed[/red] {escape(f'{name}: {entry.reason}')}", soft_wrap=True)
            elif not self.console.is_terminal:
                n_ended = ledger.count(State.DONE) + ledger.count(State.FAILED)
                line = f"{n_ended}/{len(ledger.entries)} {name} done in {entry.seconds:.0f} s"
                self.console.print(line, soft_wrap=True, highlight=False)

    def picture(self, ledger: Ledger, running: list[str], n_workers: int) -> Group:
        """The board.

        Args:
            ledger: The account.
            running: Names of the running tasks.
            n_workers: Workers that are there.
        """
        n_tasks = len(ledger.entries)
        n_ended = ledger.count(State.DONE) + ledger.count(State.FAILED)
        where = f"[link={self.dashboard}]{self.dashboard}[/link]" if self.dashboard else "starting"
        names = ", ".join(running[:_MOST_NAMES]) + (" ..." if len(running) > _MOST_NAMES else "")
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=n_tasks, completed=n_ended, width=40),
            f"{n_ended}/{n_tasks}",
            self._times(ledger),
        )
        return Group(
            Text.from_markup(f"[bold]{escape(self.title)}[/bold]"),
            bar,
            counts_line(ledger),
            Text.from_markup(f"now      {escape(names)}"),
            Text.from_markup(f"workers  {n_workers or 'waiting for the queue'}   dashboard {where}"),
        )

    def _times(self, ledger: Ledger) -> str:
        spent_s = time.monotonic() - self._start
        ended = [entry for entry in ledger.entries.values() if entry.seconds is not None]
        n_left = ledger.count(State.WAITING) + ledger.count(State.RUNNING)
        if not ended:
            return _clock(spent_s)
        return f"{_clock(spent_s)}, about {_clock(spent_s / len(ended) * n_left)} left"


def counts_line(ledger: Ledger) -> Text:
    """How many tasks are done, were done before, are running, failed and wait.

    Args:
        ledger: The account.
    """
    done = [entry for entry in ledger.entries.values() if entry.state is State.DONE]
    now = sum(entry.seconds is not None for entry in done)
    counts = {
        "done": now,
        "done before": len(done) - now,
        "running": ledger.count(State.RUNNING),
        "failed": ledger.count(State.FAILED),
        "waiting": ledger.count(State.WAITING),
    }
    parts = [f"[{_COLOURS[name]}]{number} {name}[/{_COLOURS[name]}]" for name, number in counts.items()]
    return Text.from_markup("   ".join(parts))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
