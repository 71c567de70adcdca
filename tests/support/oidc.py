"""A real OpenID provider: `oidc-provider` from node_modules, and somebody who signs in there without a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urljoin

import httpx2

from tests.support.process import Process, clean_environment

CLIENT_ID = "groupspaces"
CLIENT_SECRET = "a secret that the provider and we share"
_SCRIPT = Path(__file__).with_name("oidc_provider.mjs")


class OpenIdProvider(Process):
    """Issues for everybody who claims to be somebody; see the script for whom it knows."""

    def __init__(self, folder: Path, callbacks: Sequence[str]) -> None:
        """`callbacks` are the addresses that it sends people back to."""
        super().__init__("oidc-provider", folder)
        self._callbacks = list(callbacks)

    @property
    def settings(self) -> dict[str, object]:
        """What an instance needs to know about it."""
        return {
            "oauth.oidc_issuer": self.url,
            "oauth.oidc_client_id": CLIENT_ID,
            "oauth.oidc_client_secret": CLIENT_SECRET,
            "oauth.oidc_name": "Campus ID",
        }

    def start(self) -> Self:
        """Start it, on the same port as before."""
        node = shutil.which("node")
        assert node is not None, "Node.js is needed"
        environment = clean_environment() | {
            "ISSUER": self.url,
            "PORT": str(self.port),
            "CLIENT_ID": CLIENT_ID,
            "CLIENT_SECRET": CLIENT_SECRET,
            "REDIRECT_URIS": " ".join(self._callbacks),
        }
        self._spawn([node, str(_SCRIPT)], environment)
        self._wait_for_http("/.well-known/openid-configuration", 20.0)
        return self


async def sign_in_there(url: str, name: str) -> str:
    """Be `name` at the provider whose authorization address this is; return the address it sends the browser back to."""
    async with httpx2.AsyncClient(timeout=20.0, trust_env=False) as browser:
        here = url
        answer = await browser.get(here)
        for _ in range(12):
            if answer.is_redirect:
                here = urljoin(here, answer.headers["location"])
                if "/callback" in here and "oidc/callback" in here:
                    return here
                answer = await browser.get(here)
                continue
            action = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            if action is None or prompt is None:
                raise AssertionError(answer.text[:500])
            fields = {"prompt": prompt.group(1)}
            if prompt.group(1) == "login":
                fields |= {"login": name, "password": "any"}
            here = urljoin(here, action.group(1))
            answer = await browser.post(here, data=fields)
    raise AssertionError("the provider never sent the browser back")
