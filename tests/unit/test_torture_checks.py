"""The torture test can fail: histories with one thing wrong in them, each reported as what it is, and the same ones put right."""

from __future__ import annotations

from typing import Any

from groupspaces.ops.torture.checks import Checks, Page, Reader
from groupspaces.ops.torture.hearing import Hearing
from groupspaces.ops.torture.model import History, Model, Operation, Post

SPACE = 1


class Story:
    """A model with its checks, and short ways to tell what happened."""

    def __init__(self) -> None:
        self.model = Model()
        self.history = History()
        self.checks = Checks(self.model, self.history)
        self.alice = Reader("alice")

    def posted(self, text: str, message_id: int, seq: int, author: str = "alice") -> Post:
        post = self.model.post_begun(author, SPACE, text)
        self.history.add(Operation(seq, seq + 0.1, author, "post", "a", "acknowledged", text, 201, seq))
        self.model.post_acknowledged(post, message_id, seq, era=self.model.era)
        return post

    def edited(self, post: Post, content: str, seq: int) -> None:
        self.model.edit_begun(post, content)
        self.model.edit_acknowledged(post, content, seq, era=self.model.era)

    def shown(
        self, *messages: dict[str, Any], feed_seq: int, asked: int = 0, has_older: bool = False
    ) -> None:
        page = Page(SPACE, messages, has_older, feed_seq, asked, self.model.era, at_s=float(feed_seq))
        self.checks.shown(self.alice, page)

    def ended(self, *messages: dict[str, Any]) -> None:
        self.checks.all_there("a", SPACE, messages, at_s=99.0)

    @property
    def kinds(self) -> list[str]:
        return sorted({violation.kind for violation in self.checks.violations})


def message(message_id: int, content: str, version: int = 1) -> dict[str, Any]:
    return {"id": message_id, "content": content, "version": version}


# --- writes ---


def test_what_was_promised_and_is_there_is_no_violation() -> None:
    story = Story()
    story.posted("one", 1, 10)
    edited = story.posted("two", 2, 11, author="bob")
    story.shown(message(1, "one"), message(2, "two"), feed_seq=11, asked=10)
    story.edited(edited, "two, better", 12)
    story.model.post_begun("alice", SPACE, "nobody knows")
    story.shown(message(1, "one"), message(2, "two, better", 2), feed_seq=12)
    story.ended(message(1, "one"), message(2, "two, better", 2), message(3, "nobody knows"))
    story.ended(message(1, "one"), message(2, "two, better", 2))
    assert story.checks.violations == []


def test_a_lost_write_is_found_at_the_end_and_in_a_page_that_should_have_it() -> None:
    story = Story()
    story.posted("one", 1, 10, author="bob")
    story.posted("two", 2, 11, author="bob")
    story.shown(message(1, "one"), feed_seq=10)
    assert story.checks.violations == [], "of a state before the second write"
    story.shown(message(1, "one"), feed_seq=11)
    assert story.kinds == ["write_lost"]
    story.ended(message(2, "two"))
    found = story.checks.violations[-1]
    assert "message 1" in found.detail
    assert any("post 'one'" in line for line in found.history)


def test_a_doubled_write_is_found() -> None:
    story = Story()
    story.posted("one", 1, 10)
    story.shown(message(1, "one"), message(2, "one"), feed_seq=11)
    assert story.kinds == ["write_doubled"]

    unknown = Story()
    unknown.model.post_begun("alice", SPACE, "maybe")
    unknown.ended(message(1, "maybe"), message(2, "maybe"))
    assert unknown.kinds == ["write_doubled"]


def test_a_refused_write_that_is_kept_and_a_message_nobody_wrote_are_found() -> None:
    story = Story()
    story.model.post_refused(story.model.post_begun("alice", SPACE, "no"))
    story.ended(message(1, "no"), message(2, "who was that?"))
    assert story.kinds == ["ghost", "refused_write_kept"]


def test_an_edit_that_is_lost_is_found_and_one_whose_answer_was_lost_may_be_there_or_not() -> None:
    story = Story()
    post = story.posted("one", 1, 10)
    story.edited(post, "second", 11)
    story.model.edit_begun(post, "third")
    story.ended(message(1, "second", 2))
    story.ended(message(1, "third", 3))
    assert story.checks.violations == []
    story.ended(message(1, "one"))
    assert story.kinds == ["write_lost"]


# --- reads ---


def test_going_backwards_is_found_in_what_is_newest_and_in_versions() -> None:
    story = Story()
    for number in (1, 2):
        story.model.post_begun("bob", SPACE, f"m{number}")
    story.shown(message(1, "m1"), message(2, "m2", 3), feed_seq=11)
    story.shown(message(1, "m1"), message(2, "m2", 2), feed_seq=12)
    assert story.kinds == ["read_backwards"]
    story.shown(message(1, "m1"), feed_seq=13)
    assert len(story.checks.violations) == 2


def test_not_reading_an_own_write_is_found() -> None:
    story = Story()
    post = story.posted("mine", 5, 20)
    story.shown(feed_seq=19, asked=20)
    assert story.kinds == ["bookmark_ignored", "own_write_missing"]
    story.shown(message(5, "mine"), feed_seq=20, asked=20)
    story.edited(post, "mine, better", 21)
    story.shown(message(5, "mine"), feed_seq=21, asked=21)
    assert [violation.kind for violation in story.checks.violations[2:]] == ["own_write_missing"]


def test_older_messages_need_not_be_on_the_latest_page() -> None:
    story = Story()
    story.posted("one", 1, 10)
    story.posted("two", 2, 11)
    story.shown(message(2, "two"), feed_seq=11, has_older=True)
    assert story.checks.violations == []


def test_somebody_who_may_not_read_and_is_answered_is_found() -> None:
    story = Story()
    story.checks.trespassed("stranger", "messages of space 1", 404, era=0, at_s=1.0)
    assert story.checks.violations == []
    story.checks.trespassed("stranger", "messages of space 1", 200, era=0, at_s=2.0)
    assert story.kinds == ["forbidden_read"]


def test_whoever_has_left_may_be_back_by_a_cut_and_a_stranger_never() -> None:
    story = Story()
    story.model.cut(kept_seq=5)
    story.checks.trespassed("leaver", "messages of space 1", 200, era=0, at_s=1.0)
    assert story.checks.violations == []
    story.checks.trespassed("stranger", "messages of space 1", 200, era=None, at_s=1.0)
    assert story.kinds == ["forbidden_read"]


def test_a_right_that_goes_away_and_a_fault_of_the_servers_own_are_found() -> None:
    story = Story()
    story.checks.failed("alice", "read", 503, "", era=0, at_s=1.0)
    assert story.checks.violations == []
    story.checks.failed("alice", "read", 401, "", era=0, at_s=1.0)
    story.checks.failed("alice", "read", 500, "", era=0, at_s=1.0)
    story.alice.note(7, 0)
    story.checks.position_unknown(story.alice, era=0, at_s=1.0)
    assert story.kinds == ["internal_error", "position_unknown", "right_lost"]


def test_instances_that_show_different_things_at_the_end_are_found() -> None:
    story = Story()
    story.checks.equal(SPACE, {"a": [message(1, "x")], "b": [message(1, "x")]}, 9.0)
    assert story.checks.violations == []
    story.checks.equal(SPACE, {"a": [message(1, "x")], "b": [message(1, "y")]}, 9.0)
    assert story.kinds == ["instances_differ"]


# --- histories that are cut ---


def test_only_what_was_acknowledged_above_a_cut_may_be_lost() -> None:
    story = Story()
    story.posted("kept", 1, 10)
    story.posted("cut off", 2, 20)
    story.model.cut(kept_seq=15)
    story.shown(feed_seq=3)
    assert story.checks.violations == [], "nothing is judged before all instances have settled"
    story.model.settled()
    story.shown(message(1, "kept"), feed_seq=16)
    story.ended(message(1, "kept"))
    assert story.checks.violations == []
    story.ended(message(2, "cut off"))
    assert story.kinds == ["write_lost"]


def test_what_was_begun_before_a_cut_promises_nothing_after_it() -> None:
    story = Story()
    post = story.model.post_begun("alice", SPACE, "under way")
    era = story.model.era
    story.model.cut(kept_seq=15)
    story.model.settled()
    story.model.post_acknowledged(post, 7, 12, era=era)
    story.ended()
    story.ended(message(3, "under way"))
    assert story.checks.violations == []
    story.posted("of the new history", 4, 20)
    story.ended()
    assert story.kinds == ["write_lost"]


def test_an_edit_above_a_cut_may_be_undone_by_it() -> None:
    story = Story()
    post = story.posted("one", 1, 10)
    story.edited(post, "second", 20)
    story.model.cut(kept_seq=15)
    story.model.settled()
    story.ended(message(1, "one"))
    story.ended(message(1, "second", 2))
    assert story.checks.violations == []


# --- streams ---


def listening(story: Story, *, may_hear: bool = True) -> Hearing:
    hearing = Hearing("bob", story.checks, may_hear=lambda space_id, seq: may_hear)
    hearing.connected()
    hearing.positioned(9, 0.0)
    return hearing


def test_a_gap_in_what_is_heard_is_found() -> None:
    story = Story()
    hearing = listening(story)
    for number, seq in enumerate((10, 11, 12), start=1):
        story.posted(f"m{number}", number, seq)
    hearing.heard(10, "message.created", {"space_id": SPACE}, 1.0)
    hearing.find_gaps(SPACE, 1.0)
    assert story.checks.violations == [], "what follows may still come"
    hearing.connected()
    hearing.heard(12, "message.created", {"space_id": SPACE}, 2.0)
    hearing.find_gaps(SPACE, 2.0)
    assert [violation.kind for violation in story.checks.violations] == ["event_gap"]
    assert "written at 11" in story.checks.violations[0].detail


def test_a_position_after_a_replay_that_left_something_out_is_a_gap() -> None:
    story = Story()
    hearing = listening(story)
    story.posted("m1", 1, 10)
    hearing.connected()
    hearing.positioned(12, 1.0)
    hearing.find_gaps(SPACE, 1.0)
    assert story.kinds == ["event_gap"]


def test_an_event_that_comes_again_and_one_that_comes_late_are_found() -> None:
    story = Story()
    hearing = listening(story)
    hearing.heard(10, "message.created", {"space_id": SPACE}, 1.0)
    hearing.heard(12, "message.created", {"space_id": SPACE}, 1.0)
    assert story.checks.violations == []
    hearing.heard(12, "message.created", {"space_id": SPACE}, 1.0)
    hearing.heard(11, "message.created", {"space_id": SPACE}, 1.0)
    assert story.kinds == ["event_backwards", "event_repeated"]


def test_a_reset_is_right_after_a_cut_and_wrong_without_one() -> None:
    story = Story()
    hearing = listening(story)
    story.model.cut(kept_seq=5)
    hearing.reset(6, 1.0)
    story.model.settled()
    hearing.connected()
    assert hearing.position is None, "who reloads does not resume"
    hearing.positioned(7, 2.0)
    assert story.checks.violations == []
    hearing.reset(8, 3.0)
    assert story.kinds == ["unexpected_reset"]


def test_a_reset_is_right_at_an_instance_whose_copy_was_spoiled_and_nowhere_else() -> None:
    story = Story()
    hearing = Hearing(
        "bob", story.checks, may_hear=lambda space_id, seq: True, was_spoiled=lambda name: name == "a"
    )
    hearing.connected()
    hearing.positioned(9, 0.0)
    hearing.reset(10, 1.0, instance="a")
    assert story.checks.violations == []
    hearing.reset(11, 2.0, instance="b")
    assert story.kinds == ["unexpected_reset"]


def test_a_reset_is_right_when_too_much_was_missed() -> None:
    story = Story()
    hearing = listening(story)
    hearing.reset(9 + 600, 1.0)
    assert story.checks.violations == []


def test_hearing_of_a_space_one_does_not_belong_to_is_found() -> None:
    story = Story()
    hearing = listening(story, may_hear=False)
    hearing.heard(10, "member.left", {"space_id": SPACE, "user_id": 3}, 1.0)
    assert story.checks.violations == [], "the leaving itself"
    hearing.heard(11, "message.created", {"space_id": SPACE}, 1.0)
    assert story.kinds == ["forbidden_event"]


def test_a_fault_that_shows_again_and_again_is_told_a_few_times_and_counted() -> None:
    story = Story()
    for _ in range(40):
        story.checks.trespassed("stranger", "x", 200, era=0, at_s=1.0)
    assert len(story.checks.violations) + story.checks.suppressed == 40
    assert len(story.checks.violations) < 10
