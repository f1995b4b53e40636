"""What every script here ends with: a JSON file, and the tables drawn from it in the page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
END = "<!-- end -->"


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--out", type=Path, default=HERE, help="folder of README.md and results/")
    made.add_argument("--seed", type=int, default=7, help="of splits and bootstrap samples")
    return made


def with_table(page: str, name: str, drawn: str) -> str:
    """Return the page with a table in its place.

    Raises:
        ValueError: The page has no such place.
    """
    start = f"<!-- table: {name} -->\n"
    before, found, rest = page.partition(start)
    if not found or END not in rest:
        raise ValueError(f"the page has no place for the table {name!r}")
    return f"{before}{start}{drawn}\n{END}{rest.partition(END)[2]}"


def load(out: Path, name: str) -> dict[str, Any]:
    """Return an earlier results file, empty where there is none."""
    path = out / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def publish(out: Path, name: str, results: Mapping[str, Any], tables: Mapping[str, str]) -> None:
    """Write the JSON file, put the tables into the page, print them."""
    path = out / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = out / "README.md"
    text = page.read_text(encoding="utf-8")
    for place, drawn in tables.items():
        text = with_table(text, place, drawn)
        print(drawn)
    page.write_text(text, encoding="utf-8")


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (titles, *rows)]
    return "\n".join([lines[0], "|---" * len(titles) + "|", *lines[1:]])


def shown(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Return a figure with its interval, "-" where it is unknown."""
    if figure is None or figure["value"] is None:
        return "-"
    value, low, high = (f"{figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
