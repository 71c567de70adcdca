"""The board: what one worker says, all see; what is highest counts."""

from __future__ import annotations

from groupspaces.host.board import Board, Seat


def test_the_highest_position_of_any_worker_counts() -> None:
    board = Board(3)
    board.remember(0, 7, 10)
    board.remember(2, 7, 12)
    board.remember(0, 7, 11)
    board.remember(2, 7, 5)
    assert board.position(7) == 12
    assert board.position(8) == 0


def test_people_may_share_a_slot_and_then_wait_for_each_other() -> None:
    board = Board()
    board.remember(0, 3, 10)
    assert board.position(3 + 65_536) == 10
    board.remember(0, 2**62 + 1, 20)
    assert board.position(2**62 + 1) == 20


def test_a_position_that_nobody_issued_is_forgotten_and_a_newer_one_is_not() -> None:
    board = Board(2)
    board.remember(0, 7, 10)
    board.remember(1, 7, 11)
    board.forget_position(7, 11)
    assert board.position(7) == 10


def test_all_positions_are_forgotten_and_nothing_else() -> None:
    board = Board(2)
    board.generation = 3
    board.reads(1, 3)
    for user_id in (0, 1, 65_535):
        board.remember(1, user_id, 10)
    board.forget_positions()
    assert [board.position(user_id) for user_id in (0, 1, 65_535)] == [0, 0, 0]
    assert (board.generation, board.generations_in_use()) == (3, {3})


def test_what_a_worker_said_of_itself_ends_with_it() -> None:
    board = Board(2)
    board.say(0, seen_at_s=5.0, open_streams=3)
    board.say(1, seen_at_s=6.0, open_streams=4)
    board.reads(0, 1)
    board.reads(1, 2)
    board.ended(1)
    assert (board.open_streams(0), board.open_streams(1)) == (3, 0)
    assert board.generations_in_use() == {1}
    assert board.seen_at_s(1) == 6.0, "people were here all the same"


def test_who_says_how_it_is_is_alive_until_it_ends_or_is_hushed() -> None:
    board = Board(2)
    assert [board.alive_at_s(worker) for worker in (0, 1)] == [0.0, 0.0]
    board.say(0, seen_at_s=5.0, open_streams=0)
    board.say(1, seen_at_s=5.0, open_streams=0)
    assert min(board.alive_at_s(worker) for worker in (0, 1)) > 0
    board.ended(0)
    board.hush(1)
    assert [board.alive_at_s(worker) for worker in (0, 1)] == [0.0, 0.0]


def test_what_the_leader_knows_is_read_as_it_was_written() -> None:
    board = Board(2)
    board.fresh_s, board.fresh_at_ms, board.last_sync_ms = 1.25, 1_700_000_000_123, 0.5
    board.prepared = True
    assert (board.fresh_s, board.fresh_at_ms, board.last_sync_ms) == (1.25, 1_700_000_000_123, 0.5)
    assert board.prepared
    assert not board.primary_away


def test_a_seat_is_shared_when_there_are_others() -> None:
    assert not Seat().is_shared
    assert Seat(Board(2), 1).is_shared
    assert Seat().boot != Seat().boot
