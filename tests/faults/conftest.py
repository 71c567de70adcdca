"""What the tests of faults share: chance, and instances that ask nobody to slow down."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.conftest import StartServer
from tests.faults.rounds import chance_of
from tests.support.client import Participant
from tests.support.server import Server

UNLIMITED = {"limits.enabled": False}


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chance of this test's own, from a seed that is shown and can be set."""
    return chance_of(request.node.name)


@pytest.fixture
def standalone(start_server: StartServer) -> Server:
    """A running standalone instance."""
    return start_server(UNLIMITED)


@pytest_asyncio.fixture
async def someone_at() -> AsyncIterator[Callable[..., Participant]]:
    """Make people: `alice = await someone_at(server).sign_up()`. Their connections are closed at the end."""
    people: list[Participant] = []

    def make(server: Server, **options: float) -> Participant:
        people.append(Participant(server.url, **options))
        return people[-1]

    yield make
    for person in people:
        await person.close()
