"""The page: it asks nobody for anything, and names stay text."""

from __future__ import annotations

import base64
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from shared_core.accounting.ledger.ledger import Ledger
from shared_core.accounting.report.page import as_html
from shared_core.types import Scope
from tests.fakes.entries import attempt, energy, entry, other

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x>',
    "$\\frac{1}{0}$ $x",
    "_hidden",
    "日本 🎉",
    "half \ud800",
)


@pytest.fixture(scope="module")
def page() -> str:
    ledger = Ledger()
    for number in range(60):
        name = EVIL[number % len(EVIL)]
        ledger.add(
            entry(
                number,
                name,
                attempts=(attempt(name, 0.5, energy=energy(1)),),
                alternatives=tuple(other(each, 0.5, 1.0, 2.0) for each in EVIL),
                scope=Scope(user=name, step=name),
                started_at=1_750_000_000.0 + 10_000 * number,
            )
        )
    return as_html(ledger.report())


class Tags(HTMLParser):
    """Collects tags and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pictures(page: str) -> list[str]:
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    return [base64.b64decode(one).decode() for one in found]


def test_the_page_asks_nobody_for_anything(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.names
    assert tags.links
    assert all(link.startswith("data:image/svg+xml;base64,") for link in tags.links)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    for picture in pictures(page):
        links = [
            value
            for element in ElementTree.fromstring(picture).iter()  # noqa: S314
            for key, value in element.attrib.items()
            if key.endswith("href")
        ]
        assert all(link.startswith("#") for link in links)


def test_names_stay_text(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&quot;&gt;&lt;img src=http://evil.example/x&gt;" in page


def test_the_plots_show_spending_baselines_days_and_models(page: str) -> None:
    usd, wh, days, models = pictures(page)
    assert "always-best" in usd
    assert "random mix" in wh
    assert "2025-06-15" in days
    assert "$x" in models
    assert "_hidden" in days


def test_the_tables_are_those_of_the_text(page: str) -> None:
    for words in ("Saved", "always-cheapest", "95 % bootstrap interval", "By model", "By user"):
        assert words in page


def test_without_matplotlib_the_page_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ledger = Ledger()
    ledger.add(entry())
    page = as_html(ledger.report())
    assert "router-llm-plugin[train]" in page
    assert "<img" not in page
    assert "Saved" in page


def test_the_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "page.html"
    ledger = Ledger()
    ledger.add(entry())
    report = ledger.report()
    report.to_html(target)
    assert target.read_text(encoding="utf-8").endswith("</html>\n")
    monkeypatch.setattr("shared_core.accounting.report.page.tables", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.to_html(target)
    assert target.read_text(encoding="utf-8").endswith("</html>\n")
    assert list(tmp_path.iterdir()) == [target]
