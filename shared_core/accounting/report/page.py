"""The savings report as one HTML page: tables, and plots where matplotlib is installed (`[train]`).

In: a `Report`. Out: the page, which asks nobody for anything: no script, no font, no picture from
elsewhere. Names of users, steps and models are anybody's text, and stay text.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

from shared_core.accounting.report.tables import Table, shown, tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from shared_core.accounting.report.savings import Report

__all__ = ["as_html"]

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a202c; background: #fff;
       max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p { margin: .3rem 0; color: #4a5568; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #cbd5e0; font-weight: 600; }
td { border-bottom: 1px solid #edf2f7; white-space: nowrap; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 1rem; }
.plots img { width: 100%; }
"""
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_COLORS: Final = ("#0b6e4f", "#e69f00", "#56b4e9", "#cc79a7", "#d55e00", "#0072b2", "#b8a800")
_GREY: Final = "#a0aec0"


def as_html(report: Report) -> str:
    """Return the page."""
    parts = "\n".join(map(_table, tables(report)))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Savings report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Savings report</h1>\n<p>Router LLM</p>\n{_plots(report)}\n{parts}\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    notes = "\n".join(f"<p>{escape(note)}</p>" for note in table.notes)
    filled = f'<div class="scroll"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'
    return f"<h2>{escape(table.title)}</h2>\n{filled if table.rows else '<p>none</p>'}\n{notes}"


def _plots(report: Report) -> str:
    if not report.calls["all"]:
        return ""
    try:
        import matplotlib as mpl
    except ImportError:
        return (
            "<p>There are no plots, because matplotlib is not installed. Install it with: "
            "pip install 'router-llm-plugin[train]'</p>"
        )
    # Names are anybody's text: no formulas in them, and no fuss about letters that a font lacks.
    with mpl.rc_context({"text.parse_math": False, "svg.fonttype": "none"}), _quiet():
        drawn = [_compared(report, unit) for unit in ("USD", "Wh")]
        drawn += [_by_day(report), _by_model(report)]
    return f'<div class="plots">\n{"".join(one for one in drawn if one)}\n</div>'


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _compared(report: Report, unit: str) -> str:
    """Draw what was spent beside each baseline, which has an interval."""
    rows = [
        row for row in report.saved if row["unit"] == unit and row["other"]["value"] is not None
    ]
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        labels = []
        for place, row in enumerate(rows):
            other = row["other"]
            axes.barh(place + 0.2, other["value"], 0.38, color=_GREY)
            axes.barh(place - 0.2, row["spent"], 0.38, color=_COLORS[0])
            if other["low"] is not None:
                ends = [[other["low"]], [other["high"]]]
                axes.plot([ends[0][0], ends[1][0]], [place + 0.2] * 2, color="#1a202c")
            model = "" if row["model"] is None else f"\n{shown(row['model'])}"
            labels.append(f"{row['baseline']}{model}\n{row['calls']:,} calls")
        axes.set_yticks(range(len(rows)), labels, multialignment="right")
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel(unit)
        axes.set_title(f"{unit}: spent (green) beside each baseline (grey, 95 % interval)")

    words = "; ".join(
        f"{row['baseline']}: {row['other']['value']:.4g} {unit} beside {row['spent']:.4g} spent"
        for row in rows
    )
    return _picture(draw, words)


def _by_day(report: Report) -> str:
    """Draw USD per day, stacked by the model that answered."""
    days = sorted({row["day"] for row in report.days if row["day"]})
    known = any(row["usd"] for row in report.days)
    unit, column = ("USD", "usd") if known else ("calls", "calls")
    names, groups = _grouped(report)

    def draw(axes: Axes) -> None:
        below = dict.fromkeys(days, 0.0)
        for color, (label, members) in zip(_palette(groups), groups.items(), strict=True):
            heights = dict.fromkeys(days, 0.0)
            for row in report.days:
                if row["candidate"] in members and row["day"]:
                    heights[row["day"]] += row[column] or 0.0
            places, bottoms = range(len(days)), list(below.values())
            axes.bar(places, list(heights.values()), 0.9, bottoms, label=label, color=color)
            below = {day: below[day] + heights[day] for day in days}
        step = max(1, -(-len(days) // 8))
        axes.set_xticks(range(0, len(days), step), days[::step], rotation=30, ha="right")
        axes.set_ylabel(f"{unit} per day (UTC)")
        axes.set_title("Spending per day, by the model that answered" if known else "Calls per day")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)

    return _picture(draw, f"{unit} per day by model: {', '.join(names)}") if days else ""


def _by_model(report: Report) -> str:
    """Draw the share of the answered calls that each model had."""
    shares = {row["name"]: row["share"] or 0.0 for row in report.models}
    names, groups = _grouped(report)

    def draw(axes: Axes) -> None:
        total = [sum(shares.get(name, 0.0) for name in members) for members in groups.values()]
        axes.barh(range(len(groups)), [100 * one for one in total], 0.7, color=_palette(groups))
        for place, one in enumerate(total):
            axes.text(100 * one + 1, place, f"{100 * one:.1f} %", va="center", fontsize="small")
        axes.set_yticks(range(len(groups)), list(groups))
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xlabel("share of the answered calls (%)")
        axes.set_title("Who answered")

    return _picture(draw, f"share of the answered calls by model: {', '.join(names)}")


def _grouped(report: Report) -> tuple[list[str], dict[str, set[str]]]:
    """Return labels of models, and the models behind each: those with few calls go together."""
    ordered = sorted(report.models, key=lambda row: -row["calls"])
    names = [row["name"] for row in ordered]
    names += sorted({row["candidate"] for row in report.days} - set(names))
    own, rest = names[: len(_COLORS)], names[len(_COLORS) :]
    groups: dict[str, set[str]] = {}
    for name in own:
        label = shown(name)[:24]
        # A label that begins with _ is left out of a legend.
        groups.setdefault(f" {label}" if label.startswith("_") else label, set()).add(name)
    if rest:
        groups[f"{len(rest)} others"] = set(rest)
    return [shown(name) for name in names], groups


def _palette(groups: dict[str, set[str]]) -> list[str]:
    return [*_COLORS, _GREY][: len(groups)]


def _picture(draw: Callable[[Axes], None], words: str) -> str:
    """Return a picture as part of the page, with what it shows in words."""
    from matplotlib.figure import Figure as NewFigure

    figure: Figure = NewFigure(figsize=(6.4, 3.8), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    draw(axes)
    axes.title.set_fontsize("medium")
    kept = io.BytesIO()
    figure.savefig(kept, format="svg", metadata={"Date": None})
    content = base64.b64encode(kept.getvalue()).decode()
    return f'<img alt="{escape(words)}" src="data:image/svg+xml;base64,{content}">\n'
