"""docs/reliability.md from the ledgers: each fault, how often, what was lost, how long it took, how to repeat it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from support import ledger
from support.ledger import Run

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
BEGIN = "<!-- from the ledgers; `make reliability` -->"
END = "<!-- end -->"


def ledgers(folder: Path = ledger.LEDGER) -> Mapping[str, Sequence[Run]]:
    """The runs of every programme that has a ledger, by name; the oldest first, whoever wrote them down."""
    names = sorted(path.stem for path in folder.glob("*.jsonl"))
    return {name: sorted(ledger.read(name, folder), key=_began) for name in names}


def _began(run: Run) -> str:
    return run.at


def renewed(page: str, runs: Mapping[str, Sequence[Run]]) -> str:
    """The page with its tables made anew; what stands before and behind them is kept.

    Raises ValueError for a page without the two marks between which they stand.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    tables = "\n".join(_tables({name: each for name, each in runs.items() if each}))
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _tables(runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    yield from _table(
        ("programme", "runs", "hours", "faults", "checked", "in a gap", "broken", "mended since", "code"),
        (_total(name, each) for name, each in runs.items()),
    )
    for name, each in runs.items():
        yield ""
        yield f"### {name}"
        yield ""
        yield from _table(
            ("fault", "injected", "lost", "recovery, median", "worst", "the run with most of it"), _faults(each)
        )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def standing(runs: Sequence[Run]) -> list[Run]:
    """The runs that broke something, and whose command has not been run since without breaking anything."""
    last = {run.command: number for number, run in enumerate(runs) if not run.broken}
    return [run for number, run in enumerate(runs) if run.broken and last.get(run.command, -1) < number]


def _total(name: str, runs: Sequence[Run]) -> Sequence[str]:
    broken, now = [run for run in runs if run.broken], standing(runs)
    return (
        name,
        f"{len(runs):,}",
        f"{sum(run.seconds for run in runs) / 3600:.1f}",
        f"{sum(sum(run.faults.values()) for run in runs):,}",
        f"{sum(run.checked for run in runs):,}",
        f"{sum(run.excused for run in runs):,}",
        f"{len(now):,}",
        f"{len(broken) - len(now):,}",
        _codes(runs),
    )


def _codes(runs: Sequence[Run]) -> str:
    """The first and the last commit that ran."""
    first, last = runs[0].commit, runs[-1].commit
    return f"`{first}`" if first == last else f"`{first}` .. `{last}`"


def _faults(runs: Sequence[Run]) -> Iterator[Sequence[str]]:
    counts: Counter[str] = Counter()
    took: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        counts.update(run.faults)
        for fault, seconds in run.recovery.items():
            took[fault] += seconds
    for fault, count in sorted(counts.items()):
        seconds = took[fault]
        middle, worst = (f"{median(seconds):.1f} s", f"{max(seconds):.1f} s") if seconds else ("-", "-")
        best = max(runs, key=lambda run, fault=fault: (run.faults.get(fault, 0), -run.seed))  # type: ignore[misc]
        yield fault, f"{count:,}", _lost(runs, fault), middle, worst, f"`{best.command}`"


def _lost(runs: Sequence[Run], fault: str) -> str:
    """What broke in runs with this fault, and still does as far as is known."""
    broken = [run for run in standing(runs) if run.faults.get(fault)]
    return f"{sum(len(run.broken) for run in broken)} breaches" if broken else "nothing"
