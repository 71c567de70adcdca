"""Fixtures for browser tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.house import House, OpenProfile
from tests.conftest import StartServer
from tests.support.server import Server


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """An instance that lets tests be faster than people."""
    return start_server({"limits.enabled": False})


@pytest_asyncio.fixture
async def house(server: Server, new_person: OpenProfile) -> AsyncIterator[House]:
    """An instance with nobody in it yet."""
    house = House(server, new_person)
    yield house
    await house.close()
