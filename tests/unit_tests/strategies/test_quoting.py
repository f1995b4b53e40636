"""What others wrote, quoted: the room is kept, ends stay, short ones stay whole."""

from __future__ import annotations

import pytest

from shared_core.strategies.quoting import between, fitted
from shared_core.tokens import size_of
from tests.fakes.verifying import ODD_TEXTS


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
@pytest.mark.parametrize("room", [-1, 0, 5, 100, 10_000])
def test_no_text_is_longer_than_its_room(text: str, room: int) -> None:
    cut = fitted([text, "short", text], room)
    assert sum(map(size_of, cut)) <= max(0, room)
    between("TEXT", "mark", cut[0]).encode()


def test_short_ones_stay_whole_and_leave_their_share() -> None:
    cut = fitted(["a" * 1_000, "short", "b" * 1_000, "c" * 50], 455)
    assert cut[1] == "short"
    assert cut[3] == "c" * 50
    assert [len(cut[0]), len(cut[2])] == [199, 199]  # 200 each, but for what halves leave


def test_both_ends_of_a_long_one_stay_and_no_half_characters() -> None:
    (cut,) = fitted(["begin " + "\u4f60" * 1_000 + " end"], 100)
    assert cut.startswith("begin \u4f60")
    assert cut.endswith("\u4f60 end")
    assert "[...]" in cut
    assert "\ufffd" not in cut


def test_where_there_is_room_nothing_is_cut() -> None:
    assert fitted(["a" * 10, "b" * 20], 30) == ["a" * 10, "b" * 20]
    assert fitted([], 30) == []
