"""headstart diff: show the differences of two runs, and whether their results should be equal."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.commands.trusting import add_trust
from headstart.comparison.diff import DiffRow, DiffSection, conclusion, described, differences
from headstart.guard import DONE
from headstart.kinds import is_share
from headstart.records.record import RunRecord, read_record
from headstart.tables import table_text

WIDEST = 48  # characters of a value


def diff(arguments: Sequence[str]) -> int:
    """Print the differences of two run directories; return the exit code. Raises DataError for an unreadable one."""
    parser = argparse.ArgumentParser(
        prog="headstart diff", description="Show what differs between two runs, finished or not."
    )
    parser.add_argument("a", type=Path, metavar="RUN_A", help="a run directory (a folder with a run.json)")
    parser.add_argument("b", type=Path, metavar="RUN_B", help="another one")
    add_trust(parser)
    options = parser.parse_args(arguments)
    a, b = read_record(options.a), read_record(options.b)
    sections = differences(a, b)
    for name, record in (("A", a), ("B", b)):
        print(f"{name}: {describe(record)}")
    print()
    for line in section_lines(sections):
        print(line)
    print(f"\n{conclusion(sections)}")
    return DONE


def describe(record: RunRecord) -> str:
    """Return a one-line description of a run."""
    names = [str(record.get(name)) for name in ("dataset", "backbone", "strategy") if record.get(name)]
    augmentation = "+".join(str(name) for name in record.get("augmentation") or []) or "no augmentation"
    seed = record.get("seed")
    return f"{record.directory} ({', '.join([*names, augmentation, f'seed {seed}'])}; {record.get('status')})"


def section_lines(sections: Sequence[DiffSection], names: tuple[str, str] = ("A", "B")) -> list[str]:
    """Return the lines of the sections: a table of differences, or one line if there are none."""
    lines: list[str] = []
    for section, words in described(sections):
        if not section.rows and not section.notes:
            lines.append(words)
            continue
        lines += ["", words] if lines and lines[-1] else [words]
        if section.rows:
            lines += [f"  {line}" for line in _table(section, names).splitlines()]
        lines += [f"  {note}" for note in section.notes]
        lines.append("")
    return lines[:-1] if lines and not lines[-1] else lines


def _table(section: DiffSection, names: tuple[str, str]) -> str:
    noted = any(row.note for row in section.rows)
    results = section.title == "results"
    header = ["", *names, *(["difference" if results else ""] if noted else [])]
    rows = [[row.name, *_cells(row, results), *([row.note] if noted else [])] for row in section.rows]
    return table_text(header, rows, [False, results, results, *([results] if noted else [])])


def _cells(row: DiffRow, results: bool) -> tuple[str, str]:
    """Return two cells: metrics with enough digits to show the difference, shares in percent, others unchanged."""
    if results and isinstance(row.a, float) and isinstance(row.b, float):
        factor, unit = (100, " %") if is_share(row.name) else (1, "")
        for digits in (4, 7, 17):
            first, second = (f"{factor * value:.{digits}g}{unit}" for value in (row.a, row.b))
            if first != second:
                return first, second
    return value_cells(row.a, row.b)


def value_cells(a: Any, b: Any) -> tuple[str, str]:
    """Return two values as text, shortened so that their first difference is visible."""
    first, second = _text(a), _text(b)
    if max(len(first), len(second)) <= WIDEST:
        return first, second
    differ = (place for place, (x, y) in enumerate(zip(first, second, strict=False)) if x != y)
    common = max(0, next(differ, min(len(first), len(second))) - 8)
    return _cut(first, common), _cut(second, common)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:12] if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value) else value
    return json.dumps(value, default=str, ensure_ascii=False)


def _cut(text: str, start: int) -> str:
    text = f"…{text[start:]}" if start else text
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
