"""Pictures of people: what is taken, what becomes of it, who sees it."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.features.world import Person, World, problem, running
from tests.support.sqld import Sqld

AVATAR = "/api/users/me/avatar"


def picture(
    picture_format: str = "PNG", size: tuple[int, int] = (600, 400), mode: str = "RGB", **options: object
) -> bytes:
    """Return a picture: red on the left half, blue on the right."""
    image = Image.new("RGB", size, (220, 20, 20))
    image.paste((20, 20, 220), (size[0] // 2, 0, size[0], size[1]))
    out = io.BytesIO()
    image.convert(mode).save(out, picture_format, **options)
    return out.getvalue()


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG whose header says what it likes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def webp_of(width: int, height: int) -> bytes:
    """Return an animated WebP whose canvas is as large as it says, with nothing in it."""
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + canvas
    chunks += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    frame = picture("WEBP", (8, 8), lossless=True)[12:]
    anmf = bytes(6) + struct.pack("<I", 7)[:3] * 2 + bytes(4) + frame
    chunks += b"ANMF" + struct.pack("<I", len(anmf)) + anmf + bytes(len(anmf) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def frames(count: int) -> bytes:
    """Return an animated GIF."""
    first = Image.new("P", (16, 16), 1)
    out = io.BytesIO()
    first.save(
        out, "GIF", save_all=True, append_images=[Image.new("P", (16, 16), n % 7) for n in range(1, count)]
    )
    return out.getvalue()


async def upload(
    person: Person, body: bytes, media_type: str = "image/png", **headers: str
) -> httpx2.Response:
    return await person.client.put(AVATAR, content=body, headers={"content-type": media_type, **headers})


async def shown(person: Person, url: str) -> Image.Image:
    answer = await person.get(url)
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content), formats=("WEBP",)).convert("RGB")


@pytest.mark.parametrize(
    "body",
    [
        picture("PNG"),
        picture("PNG", mode="P"),
        picture("PNG", mode="RGBA"),
        picture("PNG", mode="1"),
        picture("PNG", mode="I;16"),
        picture("JPEG"),
        picture("JPEG", mode="CMYK"),
        picture("JPEG", size=(5000, 3000)),
        picture("WEBP"),
        picture("GIF"),
        picture("PNG", size=(1, 4000)),
        frames(30),
    ],
)
async def test_a_picture_becomes_256_points_square(world: World, body: bytes) -> None:
    ann = await world.person("Ann")
    answer = await upload(ann, body, "application/octet-stream")
    assert answer.status_code == 200, answer.text
    url = answer.json()["avatar_url"]
    assert url.startswith(f"/avatars/{ann.id}/")
    assert (await shown(ann, url)).size == (256, 256)
    assert (await ann.get("/api/users/me")).json()["avatar_url"] == url


async def test_it_is_turned_upright_and_keeps_nothing_but_its_points(world: World) -> None:
    ann = await world.person("Ann")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: its left side is above
    exif[0x010E] = "a secret place"
    body = picture(
        "JPEG", (800, 800), exif=exif, icc_profile=b"a secret profile" * 20, comment=b"a secret word"
    )
    body += b"PK\x03\x04<script>a secret file</script>"
    assert b"secret" in body
    url = (await upload(ann, body)).json()["avatar_url"]
    kept = (await ann.get(url)).content
    assert not any(word in kept for word in (b"secret", b"script", b"EXIF", b"ICCP", b"XMP "))
    image = await shown(ann, url)
    above, below = image.getpixel((128, 20)), image.getpixel((128, 236))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert above[0] > 180 > above[2]
    assert below[2] > 180 > below[0]


async def test_it_may_come_in_a_form(world: World) -> None:
    ann = await world.person("Ann")
    answer = await ann.client.put(
        AVATAR, files={"file": ("../../x.svg", picture(), "image/svg+xml")}, data={"other": "x"}
    )
    assert answer.status_code == 200
    twice = [("file", ("a.png", picture(), "image/png")), ("file", ("b.png", picture(), "image/png"))]
    problem(await ann.client.put(AVATAR, files=twice), 422)
    problem(await ann.client.put(AVATAR, files={"other": ("a.png", picture(), "image/png")}), 422)
    form = "multipart/form-data; boundary=x"
    problem(await upload(ann, b"--x\r\nno form", form), 400, "MALFORMED")
    problem(await upload(ann, b"--x--\r\n", form), 422)
    problem(await upload(ann, b"\xff" * 100, form), 400, "MALFORMED")
    problem(await upload(ann, picture(), "multipart/form-data"), 400, "MALFORMED")


def bad_pictures() -> Iterator[tuple[str, bytes, int, str]]:
    """Yield what must be refused: its name, the upload, status and code."""
    whole = picture("JPEG", (2000, 2000))
    points = zlib.compress(bytes(4000))
    text = zlib.compress(bytes(50_000_000))
    yield "nothing", b"", 415, "UNSUPPORTED_MEDIA_TYPE"
    yield "a drawing", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "UNSUPPORTED_MEDIA_TYPE"
    yield "a page", b"<!doctype html><script>alert(1)</script>", 415, "UNSUPPORTED_MEDIA_TYPE"
    yield "a bitmap", picture("BMP"), 415, "UNSUPPORTED_MEDIA_TYPE"
    yield "a TIFF", picture("TIFF"), 415, "UNSUPPORTED_MEDIA_TYPE"
    yield "a page that begins like a picture", b"GIF89a/*<script>*/=1;", 422, "PICTURE_INVALID"
    yield "half a picture", whole[: len(whole) // 2], 422, "PICTURE_INVALID"
    yield "the beginning of a PNG", b"\x89PNG\r\n\x1a\n", 422, "PICTURE_INVALID"
    yield "the beginning of a WebP", b"RIFF\0\0\0\0WEBP", 422, "PICTURE_INVALID"
    yield "a JPEG called PNG by its first bytes", b"\x89PNG\r\n\x1a\n" + whole, 422, "PICTURE_INVALID"
    yield "a PNG of a billion points", png(30_000, 40_000, points), 422, "PICTURE_INVALID"
    yield "a PNG as wide as can be", png(2**31 - 1, 1, points), 422, "PICTURE_INVALID"
    yield "a PNG without points", png(0, 0, points), 422, "PICTURE_INVALID"
    yield "a PNG with fewer rows than it says", png(4000, 4000, points), 422, "PICTURE_INVALID"
    yield (
        "a GIF as large as can be",
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
        422,
        "PICTURE_INVALID",
    )
    yield "a WebP as large as can be", webp_of(16_384, 16_384), 422, "PICTURE_INVALID"
    yield "just over 40 million points", picture("GIF", (8000, 5001)), 422, "PICTURE_INVALID"
    itxt = png(10, 10, zlib.compress(bytes(310)))
    data = b"x\0\0" + text
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    yield "a PNG with a bomb of text", itxt[:33] + chunk + itxt[33:], 422, "PICTURE_INVALID"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [case[1:] for case in bad_pictures()],
    ids=[case[0] for case in bad_pictures()],
)
async def test_anything_else_is_refused_and_changes_nothing(
    world: World, body: bytes, status: int, code: str
) -> None:
    ann = await world.person("Ann")
    before = (await upload(ann, picture())).json()
    problem(await upload(ann, body), status, code)
    assert (await ann.get("/api/users/me")).json() == before
    assert (await ann.get(before["avatar_url"])).status_code == 200


async def test_more_than_five_megabytes_are_not_read(world: World) -> None:
    ann = await world.person("Ann")
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for read in range(1000):  # noqa: B007
            yield bytes(65_536)

    problem(await ann.client.put(AVATAR, content=endless()), 413, "TOO_LARGE")
    assert read < 100
    problem(await upload(ann, bytes(5 * 1024 * 1024 + 1)), 413, "TOO_LARGE")
    problem(await upload(ann, picture(), **{"content-encoding": "gzip"}), 415)
    form = {"file": ("a.png", bytes(5 * 1024 * 1024 + 1), "image/png")}
    problem(await ann.client.put(AVATAR, files=form), 413, "TOO_LARGE")


async def test_others_are_served_while_the_dearest_pictures_are_made(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    dear = [
        picture("WEBP", (8000, 5000)),
        frames(10_000),
        png(6000, 6600, zlib.compress(bytes(6600 * 18_001))),
    ]
    made = asyncio.gather(*(upload(ann, body) for body in dear))
    answered = 0
    while not made.done():
        assert (await ben.get("/api/users/me")).status_code == 200
        answered += 1
        await asyncio.sleep(0)  # such a request waits for nothing, and so leaves nobody else a turn
    assert [answer.status_code for answer in await made] == [200, 200, 200]
    assert answered > 20


async def test_only_who_shares_a_space_sees_it(world: World) -> None:
    ann, ben, eve = await world.person("Ann"), await world.person("Ben"), await world.person("Eve")
    space = await ann.space()
    await ben.joins(ann, space["id"])
    url = (await upload(ann, picture())).json()["avatar_url"]
    for person in (ann, ben):
        answer = await person.get(url)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/webp"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"] == "inline"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert "sandbox; default-src 'none'; base-uri 'none'" in answer.headers.get_list(
            "content-security-policy"
        )
        again = await person.get(url, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    problem(await eve.get(url), 404)
    problem(await (await world.stranger()).get(url), 401)
    problem(await ben.get(f"/avatars/{ann.id}/0123456789abcdef"), 404)
    problem(await ben.get(f"/avatars/{ben.id}/{url.rpartition('/')[2]}"), 404)
    problem(await ben.get("/avatars/x"), 404)


async def test_it_is_shown_wherever_they_are(world: World) -> None:
    ann = await world.person("Ann")
    space = await ann.space()
    before = await ann.say(space["id"], "before")
    assert before["author"]["avatar_url"] is None
    messages = f"/api/spaces/{space['id']}/messages"
    assert [item["author"]["avatar_url"] for item in (await ann.get(messages)).json()["items"]] == [None]
    url = (await upload(ann, picture())).json()["avatar_url"]
    said = await ann.say(space["id"], "hi")
    edited = await ann.patch(f"/api/messages/{said['id']}", {"content": "hello"})
    people = (await ann.get(f"/api/spaces/{space['id']}/members")).json()["items"]
    assert said["author"]["avatar_url"] == edited.json()["author"]["avatar_url"] == url
    assert [item["author"]["avatar_url"] for item in (await ann.get(messages)).json()["items"]] == [url, url]
    assert [item["user"]["avatar_url"] for item in people] == [url]
    assert (await ann.get(f"/api/users/{ann.id}")).json()["avatar_url"] == url


async def test_another_one_takes_its_place_and_none_is_none(world: World) -> None:
    ann = await world.person("Ann")
    first = (await upload(ann, picture())).json()["avatar_url"]
    second = (await upload(ann, picture(size=(10, 900)))).json()["avatar_url"]
    assert first != second
    problem(await ann.get(first), 404)
    assert (await ann.delete(AVATAR)).status_code == 204
    assert (await ann.delete(AVATAR)).status_code == 204
    problem(await ann.get(second), 404)
    assert (await ann.get("/api/users/me")).json()["avatar_url"] is None
    assert await world.rows("SELECT count(*) FROM avatar") == [(0,)]


@pytest.mark.sqld
async def test_it_travels_by_a_primary(tmp_path: Path, sqld: Sqld) -> None:
    settings = {"primary.url": sqld.url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    async with running(tmp_path / "a", settings) as here, running(tmp_path / "b", settings) as there:
        ann = await here.person("Ann")
        url = (await upload(ann, picture())).json()["avatar_url"]
        elsewhere = await there.stranger()
        elsewhere.client.cookies.update(ann.client.cookies)
        assert (await shown(elsewhere, url)).size == (256, 256)


BROKEN: tuple[Callable[[bytes, int], bytes], ...] = (
    lambda body, at: body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :],
    lambda body, at: body[:at] + body[at + 3 :],
)


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_no_broken_picture_surprises_the_process(picture_format: str) -> None:
    """Whatever Pillow makes of damaged files, it is a picture or a no, never another error."""
    from groupspaces.features.accounts.picture_process import portrait

    body = picture(picture_format, (40, 30))
    for at in range(12, min(len(body), 400)):
        for broken in BROKEN:
            portrait(broken(body, at), picture_format, 1_000_000)
