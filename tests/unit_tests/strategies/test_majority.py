"""When a vote is settled, against votes that are carried out one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from shared_core.strategies.majority import _SCATTER, Race, agreement, vote_weight


def winner(votes: Sequence[float]) -> int:
    return max(range(len(votes)), key=lambda i: (votes[i], -i))


def drawn(votes: list[float], theta: float, rng: random.Random) -> list[float]:
    """One more vote, by the process."""
    total = sum(votes) + theta
    at = rng.random() * total
    for place, weight in enumerate(votes):
        at -= weight - _SCATTER
        if at < 0:
            votes[place] += 1
            return votes
    return [*votes, 1.0]


def share_of_wins(votes: Sequence[float], left: int, same: float, runs: int = 4000) -> float:
    rng, theta = random.Random(3), (1 - _SCATTER) / same - 1
    leader, won = winner(votes), 0
    for _ in range(runs):
        final = list(votes)
        for _ in range(left):
            final = drawn(final, theta, rng)
        won += winner(final) == leader
    return won / runs


def exactly(votes: Sequence[float], left: int, same: float) -> float:
    """The probability that the leader wins, by every way in which the votes can come."""
    theta = (1 - _SCATTER) / same - 1
    leader = winner(votes)

    def wins(now: tuple[float, ...], left: int) -> float:
        if not left:
            return float(winner(now) == leader)
        total = sum(now) + theta
        chance = (theta + _SCATTER * len(now)) / total * wins((*now, 1.0), left - 1)
        for place, weight in enumerate(now):
            after = (*now[:place], weight + 1, *now[place + 1 :])
            chance += (weight - _SCATTER) / total * wins(after, left - 1)
        return chance

    return wins(tuple(votes), left)


def race(votes: Sequence[float], left: int, same: float) -> Race:
    return Race(votes, [1.0] * left, same)


@pytest.mark.parametrize("votes", [(1.0, 1.0), (2.0, 1.0), (1.0, 2.0), (3.0, 1.0), (3.0, 2.0)])
@pytest.mark.parametrize("left", [1, 2, 3])
@pytest.mark.parametrize("same", [0.2, 0.6, 0.95])
def test_few_votes_left_are_counted_out(votes: Sequence[float], left: int, same: float) -> None:
    # Two may tie or overtake at once only where more than one other can: then it is a bound.
    found, true = race(votes, left, same).settled(), exactly(votes, left, same)
    assert found <= true + 1e-9
    assert found == pytest.approx(true, abs=0.06)


def test_one_vote_left_is_exact() -> None:
    assert race((2.0, 2.0), 1, 0.5).settled() == pytest.approx(exactly((2.0, 2.0), 1, 0.5))
    assert race((2.0, 1.0), 1, 0.5).settled() == 1.0
    assert race((1.0, 2.0), 1, 0.5).settled() == pytest.approx(exactly((1.0, 2.0), 1, 0.5))


@pytest.mark.parametrize(
    ("votes", "left", "same"),
    [
        ((1.0,), 15, 0.9),
        ((2.0,), 14, 0.5),
        ((3.0,), 13, 0.2),
        ((4.0, 1.0), 11, 0.4),
        ((3.0, 1.0, 1.0), 11, 0.3),
        ((5.0, 2.0), 9, 0.6),
        ((6.0, 3.0, 1.0), 6, 0.5),
    ],
)
def test_many_votes_left_are_close_to_what_comes_of_them(
    votes: Sequence[float], left: int, same: float
) -> None:
    found, simulated = race(votes, left, same).settled(), share_of_wins(votes, left, same)
    assert found == pytest.approx(simulated, abs=0.06)


def test_what_the_votes_left_cannot_change_is_certain() -> None:
    assert race((3.0, 1.0), 1, 0.5).settled() == 1.0
    assert race((3.0, 1.0), 2, 0.5).settled() == 1.0  # a tie: who was first wins
    assert race((1.0, 3.0), 1, 0.5).settled() == 1.0
    assert race((1.0, 3.0), 2, 0.5).settled() < 1.0  # a tie: the other was first
    assert race((1.0,), 0, 0.5).settled() == 1.0


def test_a_better_candidate_settles_sooner() -> None:
    chances = [race((2.0,), 14, agreement(q)).settled() for q in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)]
    assert chances == sorted(chances)
    assert chances[0] < 0.9 < chances[-2]
    assert race((1.0,), 15, agreement(0.9)).settled() < 0.95  # two equal answers settle it then
    assert chances[-2] > 0.95


def test_an_answer_given_again_settles_more_and_another_less() -> None:
    two = race((2.0,), 14, 0.5).settled()
    assert race((3.0,), 13, 0.5).settled() > two
    assert race((2.0, 1.0), 13, 0.5).settled() < two


def test_the_leader_has_most_weight_and_else_was_first() -> None:
    assert race((1.0, 2.0, 2.0), 3, 0.5).leader == 1
    assert race((0.1 + 0.2, 0.3), 3, 0.5).leader == 0
    assert Race((0.3, 0.1 + 0.2), [1.0], 0.5).leader == 0  # a rounding error is no lead


def test_weights_of_votes_left_count() -> None:
    light = Race((2.0, 1.0), [0.3] * 3, 0.5)
    assert light.settled() == 1.0
    assert Race((2.0, 1.0), [1.5] * 3, 0.5).settled() < 1.0
    assert Race((0.2, 0.1), [0.2] * 5, 0.5).settled() < 1.0


def test_after_more_votes_for_the_leader() -> None:
    assert Race((1.0, 2.0), [1.0, 0.5, 2.0], 0.5).after(2) == Race([1.0, 3.5], [2.0], 0.5)


def test_a_better_voter_weighs_more_and_nobody_nothing() -> None:
    weights = [vote_weight(q) for q in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)]
    assert weights == sorted(weights)
    assert weights[0] > 0
    assert weights[-1] < 10
