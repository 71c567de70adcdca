"""What virtual people do all day: write, edit, read, come and go, and try what they may not.

Each life is a loop of single steps, drawn from the person's own dice, until the stage is over; every answer goes to the model or to
the checks. A step that has begun is brought to its end.
"""

from __future__ import annotations

from typing import Literal

from .checks import Page
from .model import Post
from .people import DENIED, PATIENCE_S, Answer, Instance, Person

_PAGE = 50
_BUSY_S = (0.02, 0.25)
# No instance holds a write for longer, and no wire keeps what passes through it.
_LATE_S = 20.0


class Writer:
    """Somebody who belongs to both spaces: writes, mends what they wrote, sends things twice, and reads."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self._written = 0
        self._keys: list[tuple[Post, str]] = []

    async def live(self) -> None:
        """Go on until the stage is over."""
        person, stage = self.person, self.person.stage
        steps = (self._post, self._read, self._edit, self._repeat)
        while not stage.is_over.is_set():
            [step] = person.chance.choices(steps, weights=(40, 38, 14, 8))
            await step()
            await stage.pause(person.chance.uniform(*_BUSY_S))

    async def _post(self) -> None:
        stage = self.person.stage
        space_id = stage.garden_id if self.person.chance.random() < 0.75 else stage.park_id
        self._written += 1
        text = f"{self.person.name} {self._written}"
        post = stage.model.post_begun(self.person.name, space_id, text)
        era, key = stage.model.era, f"{self.person.chance.getrandbits(96):024x}"
        answer, may_be_there = await self.person.until_answered(lambda at: self._send(post, key, at))
        if answer.status == 201:
            self._position(answer)
            if answer.data["content"] != text or answer.data["space_id"] != space_id:
                self._violated(
                    "wrong_answer", f"{text!r} was answered with {answer.data!r:.200}", answer, text
                )
            stage.model.post_acknowledged(post, int(answer.data["id"]), answer.bookmark, era=era)
            if post.state == "acknowledged":
                self._keys.append((post, key))
        elif not answer.is_passing:
            if not may_be_there:
                stage.model.post_refused(post)
            self._unexpected(answer, text)

    async def _repeat(self) -> None:
        """Send something acknowledged once more, under its key: the same message, and no other."""
        if not self._keys:
            return
        post, key = self.person.chance.choice(self._keys[-20:])
        answer = await self._send(post, key, self.person.somewhere())
        model = self.person.stage.model
        if answer.status == 201:
            self._position(answer)
            message_id = int(answer.data["id"])
            if model.holds(answer.era) and post.message_id and message_id != post.message_id:
                what = f"{post.text!r}, message {post.message_id}, was taken again as {message_id}"
                self._violated("write_doubled", what, answer, post.text)
        elif not answer.is_passing:
            self._unexpected(answer, post.text)

    async def _edit(self) -> None:
        """Mend one of one's own messages, by the version one has seen of it."""
        person, model = self.person, self.person.stage.model
        mine = [post for post, _ in self._keys[-10:] if post.message_id in person.reader.versions]
        if not mine or model.is_turbulent:
            return
        post = person.chance.choice(mine)
        version = person.reader.versions[post.message_id]
        content = f"{post.text} edit {len(post.contents)} {person.chance.getrandbits(32):08x}"
        model.edit_begun(post, content)
        era = model.era
        path = f"/api/messages/{post.message_id}"

        async def send(at: Instance) -> Answer:
            body = {"content": content}
            return await person.call("edit", post.text, "PATCH", path, body, at=at, version=version)

        answer, may_be_done = await person.until_answered(send, patience_s=4.0)
        if answer.status == 200:
            self._position(answer)
            if answer.data["content"] != content:
                self._violated(
                    "wrong_answer", f"{content!r} was answered with {answer.data!r:.200}", answer, post.text
                )
            model.edit_acknowledged(post, content, answer.bookmark, era=era)
        elif answer.status == 409:
            # Somebody was faster: an earlier edit of one's own whose answer was lost, or this very one.
            if not may_be_done:
                model.edit_refused(post, content)
        elif not answer.is_passing:
            if not may_be_done:
                model.edit_refused(post, content)
            self._unexpected(answer, post.text)

    async def _read(self) -> None:
        stage = self.person.stage
        await read(self.person, stage.garden_id if self.person.chance.random() < 0.75 else stage.park_id)

    async def _send(self, post: Post, key: str, at: Instance) -> Answer:
        path, body = f"/api/spaces/{post.space_id}/messages", {"content": post.text}
        return await self.person.call("post", post.text, "POST", path, body, at=at, key=key)

    def _position(self, answer: Answer) -> None:
        _note_position(self.person, answer)

    def _unexpected(self, answer: Answer, subject: str) -> None:
        unexpected(self.person, answer, subject)

    def _violated(self, kind: str, detail: str, answer: Answer, subject: str) -> None:
        self.person.stage.checks.violated(kind, detail, answer.ended_s, subject)


class Roamer:
    """Somebody who joins the park and leaves it again, and after each leaving tries to read on."""

    def __init__(self, person: Person) -> None:
        self.person = person
        # A leaving whose answer was lost may still be on its way, and end a later stay; a joining may undo a later leaving.
        self._may_leave_until_s = 0.0
        self._may_join_until_s = 0.0

    async def live(self) -> None:
        """Go on until the stage is over."""
        stage, chance = self.person.stage, self.person.chance
        while not stage.is_over.is_set():
            await self._join()
            for _ in range(chance.randint(1, 3)):
                await self._read()
                await stage.pause(chance.uniform(*_BUSY_S))
            await self._leave()
            for _ in range(chance.randint(1, 3)):
                await self._read()
                await stage.pause(chance.uniform(*_BUSY_S))

    async def _join(self) -> None:
        person, key = self.person, f"{self.person.chance.getrandbits(96):024x}"
        path = f"/api/spaces/{person.stage.park_id}/join"
        self._membership("unknown")

        async def send(at: Instance) -> Answer:
            return await person.call("join", "park", "POST", path, at=at, key=key)

        answer, may_be_done = await person.until_answered(send)
        if answer.status == 200:
            # Under its key it cannot be done again later.
            _note_position(person, answer)
            self._acknowledged("in", answer)
        elif may_be_done:
            self._may_join_until_s = person.stage.now_s() + _LATE_S
        if answer.status != 200 and not answer.is_passing:
            unexpected(person, answer, "park")

    async def _leave(self) -> None:
        person = self.person
        path = f"/api/spaces/{person.stage.park_id}/members/{person.id}"
        is_in = person.stage.model.membership(person.name, person.stage.park_id).state == "in"
        self._membership("unknown")

        async def send(at: Instance) -> Answer:
            return await person.call("leave", "park", "DELETE", path, at=at)

        answer, may_be_done = await person.until_answered(send, patience_s=PATIENCE_S if is_in else 1.0)
        if may_be_done:
            self._may_leave_until_s = person.stage.now_s() + _LATE_S
        if answer.status == 204:
            _note_position(person, answer)
            if person.stage.now_s() > self._may_join_until_s:
                self._acknowledged("out", answer)
        elif not answer.is_passing:
            unexpected(person, answer, "park")

    async def _read(self) -> None:
        person = self.person
        model, space_id = person.stage.model, person.stage.park_id
        membership = model.membership(person.name, space_id)
        if membership.state == "in" and person.stage.now_s() > self._may_leave_until_s:
            await read(person, space_id)
            return
        is_out = membership.state == "out"
        answer = await _ask_page(person, space_id)
        if is_out:
            person.stage.checks.trespassed(
                person.name, "park", answer.status or 999, era=answer.era, at_s=answer.ended_s
            )

    def _membership(self, state: Literal["unknown"]) -> None:
        self.person.stage.model.membership(self.person.name, self.person.stage.park_id).state = state

    def _acknowledged(self, state: Literal["in", "out"], answer: Answer) -> None:
        person = self.person
        person.stage.model.membership_acknowledged(
            person.name, person.stage.park_id, state, answer.bookmark, era=answer.era
        )


class Stranger:
    """Somebody who has an account and no business in the garden."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self._written = 0

    async def live(self) -> None:
        """Go on until the stage is over."""
        person = self.person
        stage, chance = person.stage, person.chance
        while not stage.is_over.is_set():
            if chance.random() < 0.2:
                await self._write()
            else:
                await self._look()
            await stage.pause(chance.uniform(0.1, 0.5))

    async def _look(self) -> None:
        person = self.person
        stage = person.stage
        garden = f"/api/spaces/{stage.garden_id}"
        paths = [garden, f"{garden}/messages?limit={_PAGE}", f"{garden}/members"]
        known = stage.model.acknowledged(stage.garden_id)
        paths += [f"/api/messages/{post.message_id}" for post in list(known)[-1:]]
        path = person.chance.choice(paths)
        answer = await person.call("trespass", path, "GET", path)
        stage.checks.trespassed(person.name, path, answer.status or 999, era=None, at_s=answer.ended_s)
        if answer.status == 500:
            unexpected(person, answer, path)

    async def _write(self) -> None:
        person = self.person
        stage = person.stage
        self._written += 1
        text = f"{person.name} {self._written}"
        post = stage.model.post_begun(person.name, stage.garden_id, text)
        path = f"/api/spaces/{stage.garden_id}/messages"
        answer = await person.call("trespass", text, "POST", path, {"content": text})
        stage.checks.trespassed(person.name, text, answer.status or 999, era=None, at_s=answer.ended_s)
        # Whatever was answered: of a stranger nothing is ever kept.
        stage.model.post_refused(post)


async def read(person: Person, space_id: int) -> None:
    """Read the latest messages of a space that one may read, and have the answer judged."""
    reader, checks = person.reader, person.stage.checks
    asked = reader.position if reader.position_era == checks.model.era else 0
    answer = await _ask_page(person, space_id)
    if answer.status == 200:
        page = Page(
            space_id,
            answer.data["items"],
            answer.data["next"] is not None,
            answer.seq,
            asked,
            answer.era,
            answer.ended_s,
        )
        checks.shown(person.reader, page)
        _note_position(person, answer)
    elif answer.code != "UNKNOWN_BOOKMARK" and not answer.is_passing:
        unexpected(person, answer, f"space {space_id}", is_write=False)


def unexpected(person: Person, answer: Answer, subject: str, *, is_write: bool = True) -> None:
    """Judge a refusal of what this person may do. One to a write says little: see `Person.until_answered`."""
    checks = person.stage.checks
    if is_write and answer.status in DENIED:
        return
    checks.failed(person.name, subject, answer.status, answer.text, era=answer.era, at_s=answer.ended_s)
    if answer.status not in (401, 403, 404, 500) and checks.model.holds(answer.era):
        checks.violated(
            "unexpected_answer",
            f"{person.name}, {subject}: {answer.status} {answer.text[:200]}",
            answer.ended_s,
            subject,
        )


async def _ask_page(person: Person, space_id: int) -> Answer:
    path = f"/api/spaces/{space_id}/messages?limit={_PAGE}"
    asked = person.reader.position
    answer = await person.call("read", f"space {space_id}", "GET", path, bookmark=asked)
    if answer.code == "UNKNOWN_BOOKMARK":
        # As the browser's client does: what was seen is of a history that is gone.
        person.stage.checks.position_unknown(person.reader, era=answer.era, at_s=answer.ended_s)
    elif answer.status == 401 and not person.stage.model.holds(answer.era):
        await person.sign_in()
    return answer


def _note_position(person: Person, answer: Answer) -> None:
    person.reader.note(max(answer.seq, answer.bookmark), answer.era)
