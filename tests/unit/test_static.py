"""The browser client's files: cached for ever under their digest, revalidated elsewhere, and no others."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from groupspaces.web.static import Client, ClientRoute
from tests.support.site import open_site
from tests.unit.test_operations import code

INDEX = b"""<!doctype html><head><link rel="stylesheet" href="/static/a.css">
<script type="module" src="/static/app.js"></script></head>"""
SCRIPT = b"export const words = 'the same words, again and again';\n" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    for name, content in {
        "index.html": INDEX,
        "app.js": SCRIPT,
        "large.js": SCRIPT * 20,
        "a.css": b"a { color: red }",
        "img/favicon.svg": b"<svg/>",
        "vendor/preact.js": b"export {}",
        "vendor/font.woff2": b"font" * 600,
        ".hidden": b"secret",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    return folder


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[tuple[httpx2.AsyncClient, ClientRoute]]:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    async with open_site(folder.parent / "site", named) as site:
        route = ClientRoute(folder, site.settings)
        async with site.mount((), [route]).client({"accept-encoding": "identity"}) as client:
            yield client, route


async def test_a_file_under_its_digest_is_kept_for_ever(folder: Path) -> None:
    async with serving(folder) as (client, route):
        answer = await client.get(f"/static/{route.digest}/app.js")
        assert answer.status_code == 200
        assert answer.content == SCRIPT
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_a_file_without_or_with_an_old_digest_is_the_current_one_and_not_kept(folder: Path) -> None:
    async with serving(folder) as (client, _):
        for path in ("/static/app.js", "/static/0123456789ab/app.js"):
            answer = await client.get(path)
            assert answer.content == SCRIPT
            assert answer.headers["cache-control"] == "no-cache"


async def test_the_shell_answers_every_address_of_the_client_and_names_the_digest(folder: Path) -> None:
    async with serving(folder) as (client, route):
        for path in ("/", "/spaces/1", "/invite/abc", "/settings"):
            answer = await client.get(path)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache"
            assert f'src="/static/{route.digest}/app.js"' in answer.text
        for path in ("/api/x", "/files/1/a", "/internal/x", "/auth/x", "/metrics"):
            assert code(await client.get(path))[0] == 404, path
        assert code(await client.post("/spaces/1")) == (405, "METHOD_NOT_ALLOWED")


async def test_a_browser_that_has_it_is_told_so(folder: Path) -> None:
    async with serving(folder) as (client, _):
        first = await client.get("/")
        again = await client.get("/", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = await client.get("/", headers={"if-none-match": '"other"'})
        assert other.status_code == 200


async def test_text_is_compressed_once_and_fonts_are_not(folder: Path) -> None:
    async with serving(folder) as (client, route):
        headers = {"accept-encoding": "gzip"}
        for name, script in (("app.js", SCRIPT), ("large.js", SCRIPT * 20), ("large.js", SCRIPT * 20)):
            request = client.build_request("GET", f"/static/{route.digest}/{name}", headers=headers)
            answer = await client.send(request, stream=True)
            packed = b"".join([chunk async for chunk in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["vary"] == "accept-encoding"
            assert gzip.decompress(packed) == script
        font = await client.get("/static/vendor/font.woff2", headers=headers)
        assert "content-encoding" not in font.headers
        assert font.headers["content-type"] == "font/woff2"


async def test_head_tells_the_size_without_the_body(folder: Path) -> None:
    async with serving(folder) as (client, _):
        answer = await client.head("/static/app.js")
        assert (answer.headers["content-length"], answer.content) == (str(len(SCRIPT)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/static/%2e%2e/outside.txt",
        "/static/..%2foutside.txt",
        "/static/link.txt",
        "/static/.hidden",
        "/static/",
        "/static/img",
        "/static//etc/passwd",
        "/static/app.js/",
        "/static/app.js%00",
    ],
)
async def test_nothing_else_can_be_had(folder: Path, path: str) -> None:
    async with serving(folder) as (client, _):
        request = client.build_request("GET", "http://testserver/")
        request.url = httpx2.URL("http://testserver", raw_path=path.encode())
        answer = await client.send(request)
        assert answer.status_code == 404
        assert "outside" not in answer.text


async def test_the_favicon_is_found_where_browsers_look(folder: Path) -> None:
    async with serving(folder) as (client, _):
        answer = await client.get("/favicon.ico")
        assert answer.headers["content-type"] == "image/svg+xml"


async def test_another_content_has_another_digest(folder: Path) -> None:
    before = Client(folder).digest
    assert Client(folder).digest == before
    (folder / "a.css").write_text("a { color: blue }")
    assert Client(folder).digest != before


async def test_an_edit_shows_at_the_next_reload_in_development_only(folder: Path) -> None:
    async with (
        serving(folder, server__environment="development") as (client, development),
    ):
        old = development.digest
        (folder / "app.js").write_text("edited")
        page = await client.get("/")
        assert development.digest != old
        found = re.search(r'src="([^"]+)"', page.text)
        assert found is not None
        assert (await client.get(found[1])).text == "edited"
    async with serving(folder) as (client, production):
        (folder / "app.js").write_text("edited again")
        await client.get("/")
        assert (await client.get(f"/static/{production.digest}/app.js")).text == "edited"


async def test_pages_have_a_strict_policy_and_a_cdn_is_let_in(folder: Path) -> None:
    async with serving(folder) as (client, _):
        headers = (await client.get("/")).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        for directive in (
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        ):
            assert directive in policy
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "same-origin"
        assert "strict-transport-security" not in headers
    async with serving(folder, assets__base_url="https://cdn.example.org") as (client, route):
        page = await client.get("/")
        assert f'src="https://cdn.example.org/static/{route.digest}/app.js"' in page.text
        assert "https://cdn.example.org" in page.headers["content-security-policy"]
        # The CDN passes these on, and pages of ours take the file from there.
        file = (await client.get(f"/static/{route.digest}/app.js")).headers
        assert file["access-control-allow-origin"] == "*"
        assert file["cross-origin-resource-policy"] == "cross-origin"
        assert "access-control-allow-origin" not in page.headers
    async with serving(folder, server__public_url="https://spaces.example.org") as (client, _):
        sts = (await client.get("/")).headers["strict-transport-security"]
        assert sts == "max-age=63072000; includeSubDomains; preload"


async def test_analytics_are_let_in_where_an_operator_wants_them_and_nowhere_else(folder: Path) -> None:
    async with serving(folder) as (client, _):
        page = await client.get("/")
        assert "google" not in page.text
        assert "google" not in page.headers["content-security-policy"]
    async with serving(folder, analytics__google_id="G-ABC123") as (client, route):
        page = await client.get("/")
        assert '<meta name="google-analytics" content="G-ABC123">' in page.text
        assert f'<script type="module" src="/static/{route.digest}/analytics.js"></script>' in page.text
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["script-src"] == "'self' https://www.googletagmanager.com"
        assert "https://*.google-analytics.com" in policy["connect-src"]
        assert "unsafe" not in page.headers["content-security-policy"]


async def test_a_missing_client_is_said_at_start_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "static"
    empty.mkdir()
    with caplog.at_level(logging.ERROR):
        async with serving(empty) as (client, _):
            assert "make assets" in (await client.get("/")).text
    assert any("make assets" in record.getMessage() for record in caplog.records)
