"""The client's files: what the page preloads is what the modules import, and the stream is read right in any cuts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.house import House

STATIC = Path(__file__).parents[2] / "static"
INDEX = (STATIC / "index.html").read_text()
OWN_LINES_MAX = 300


def test_the_page_preloads_exactly_the_modules_that_are_imported() -> None:
    preloaded = set(re.findall(r'<link rel="modulepreload" href="/static/([^"]+)">', INDEX))
    assert preloaded | {"app.js"} == reachable(STATIC / "app.js")


def test_every_module_and_style_sheet_is_used() -> None:
    # The page itself names the one, the server the other where it is wanted.
    modules = {name(path) for path in own_files("*.js")} - {"lib/theme-boot.js", "analytics.js"}
    assert modules <= reachable(STATIC / "app.js", lazily=True)
    linked = set(re.findall(r'<link rel="stylesheet" href="/static/([^"]+)">', INDEX))
    added = {sheet for path in own_files("*.js") for sheet in re.findall(r'"(css/[^"]+)"', path.read_text())}
    assert not linked & added
    assert linked | added == {name(path) for path in own_files("*.css")} - {"css/docs.css"}  # of /api/docs


def test_only_one_module_asks_the_server() -> None:
    asking = [
        name(path)
        for path in own_files("*.js")
        if re.search(r"\bfetch\(|XMLHttpRequest|EventSource\(", path.read_text())
    ]
    assert asking == ["lib/api.js"]


def test_nothing_needs_what_the_policy_forbids() -> None:
    for path in own_files("*.js"):
        assert not re.search(
            r"\beval\(|new Function\(|\sstyle=|\.setAttribute\(\"style\"", path.read_text()
        ), path
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=", INDEX)


def test_no_file_is_too_long_to_read() -> None:
    long = {
        name(path): lines
        for path in [*own_files("*.js"), *own_files("*.css")]
        if (lines := path.read_text().count("\n")) > OWN_LINES_MAX
    }
    assert long == {}


def test_icons_that_are_drawn_are_in_the_sprite() -> None:
    names = set((STATIC / "icons.txt").read_text().split())
    for path in own_files("*.js"):
        used = re.findall(r'\bicon[=:]\s*"([a-z-]+)"|<\$\{Icon\} name="([a-z-]+)"', path.read_text())
        assert {first or second for first, second in used} <= names, path


@pytest.mark.browser
async def test_the_stream_is_read_right_however_it_is_cut(house: House) -> None:
    page = (await house.browser("Citra")).page
    events = await page.evaluate(
        """async () => {
          const entry = document.querySelector("script[type=module]").src;
          const { eventParser } = await import(new URL("lib/stream.js", entry).href);
          const text = "id: 7\\n\\n:\\n\\nid: 8\\nevent: a\\ndata: {\\"x\\":\\"\\u00fc\\"}\\n\\nevent: b\\r\\ndata: [1,\\r\\ndata: 2]\\r\\n\\r\\nid: x\\nevent: c\\ndata:3\\n\\n";
          const whole = [];
          eventParser((event) => whole.push(event))(text);
          const results = [];
          for (let size = 1; size <= text.length; size += 1) {
            const seen = [];
            const parse = eventParser((event) => seen.push(event));
            for (let at = 0; at < text.length; at += size) parse(text.slice(at, at + size));
            results.push(JSON.stringify(seen) === JSON.stringify(whole));
          }
          return { whole, same: results.every(Boolean) };
        }"""
    )
    assert events["whole"] == [
        {"id": 7, "type": None, "data": None},
        {"id": 8, "type": "a", "data": {"x": "ü"}},
        {"id": None, "type": "b", "data": [1, 2]},
        {"id": None, "type": "c", "data": 3},
    ]
    assert events["same"]


def own_files(pattern: str) -> list[Path]:
    """List the files of this kind that are ours."""
    return sorted(path for path in STATIC.rglob(pattern) if "vendor" not in path.parts)


def reachable(entry: Path, *, lazily: bool = False) -> set[str]:
    """Follow the imports from a module, `lazily` also those that wait until somebody needs them; names are relative to the
    static folder."""
    imports = r'^(?:import|export|\}).*? from "(\.[^"]+)";'
    if lazily:
        imports += r'|\bimport\("(\.[^"]+)"\)'
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if name(path) in found:
            continue
        found.add(name(path))
        if "vendor" not in path.parts:
            waiting += [
                (path.parent / (match[1] or match[2])).resolve()
                for match in re.finditer(imports, path.read_text(), re.MULTILINE)
            ]
    return found


def name(path: Path) -> str:
    """Return a file's name below the static folder."""
    return path.relative_to(STATIC).as_posix()
