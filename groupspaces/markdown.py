"""Markdown of people, made into HTML that is safe to insert in anybody's page.

Owns what survives: paragraphs, emphasis, code, lists, quotes, links, small headings and mentions. Three steps: comrak
(which escapes raw HTML, so that every tag after it is its own), a pass over these tags that shapes them and marks
mentions in the text between, then nh3 with a short list of what is allowed. The pass decides how it looks; nh3 alone
decides what is safe, so that a mistake in the pass can spoil a layout and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import comrak
import nh3

ALL = "all"  # as in @all: everybody in the space; no account may have this name
USERNAME_MAX_CHARS = 40

# What goes beyond is kept as text. 8,000 characters could become 200 kB of quotes in quotes, or 1,300 links.
MAX_DEPTH = 16
MAX_LINKS = 200
MAX_MENTIONS_IN_A_ROW = 100

# A message is no page: its headings begin below those of the page around it.
HEADINGS = {"h1": "h4", "h2": "h5", "h3": "h6", "h4": "h6", "h5": "h6", "h6": "h6"}
TAGS_WITHOUT_MENTIONS = {"a", "code", "pre"}
VOID_TAGS = {"br", "hr"}
INLINE_TAGS = {"a", "code", "del", "em", "span", "strong"}
BLOCK_TAGS = {"blockquote", "li", "ol", "p", "pre", "ul"}
TAGS = {*HEADINGS.values(), *VOID_TAGS, *INLINE_TAGS, *BLOCK_TAGS}
NEW_TAB = ' target="_blank"'

_TAG = re.compile(r"<(?P<end>/?)(?P<name>[a-z][a-z0-9]*)(?P<attributes>[^>]*)>")
_ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
# Letters and digits with single or double hyphens between; not the middle of an e-mail address or a path.
_MENTION = re.compile(r"(?<![\w@/.+-])@(?P<username>[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+)(?![\w@])")
_LINK = re.compile(r"(?i)https?://|mailto:|/")
_OWN_LINK = re.compile(r"/(?![/\\])")

Mark = Callable[[str], int | str | None]


def render(
    content: str, mentions: Mapping[str, int] = MappingProxyType({}), *, mentions_all: bool = False
) -> str:
    """Return `content` as sanitised HTML.

    `mentions` maps usernames in lower case to user ids: `@ann` becomes `<span class="mention" data-user="7">@ann</span>`;
    with `mentions_all`, `@all` gets `data-user="all"`. Other names, and names in code or links, stay plain text. Takes
    about 60 µs for a short message, and time and output grow in proportion to the length, which the caller limits.
    """

    def mark(username: str) -> int | str | None:
        if username == ALL:
            return ALL if mentions_all else None
        return mentions.get(username)

    return _CLEANER.clean(_shaped(_to_html(content), mark))


def mentioned_usernames(content: str) -> set[str]:
    """Return the usernames, in lower case, that `render` could mark; `ALL` among them when everybody is meant."""
    found: set[str] = set()
    _shaped(_to_html(content), found.add)
    return found


def _shaped(html: str, mark: Mark) -> str:
    """Rewrite comrak's tags: headings small, pictures as links, depth and links limited, mentions marked."""
    out: list[str] = []
    ends: list[
        tuple[str, str]
    ] = []  # of open tags: comrak's name, and our closing tag ("" for a dropped one)
    without_mentions = 0
    links = 0
    position = 0
    for tag in _TAG.finditer(html):
        text = html[position : tag.start()]
        if not without_mentions:
            text = _with_mentions(text, mark)
        out.append(text if ends else _paragraph(text))
        position = tag.end()
        name = tag["name"]
        if tag["end"]:
            opened, end = ends.pop() if ends else (name, "")
            without_mentions -= opened in TAGS_WITHOUT_MENTIONS
            out.append(end)
        elif name in VOID_TAGS:
            out.append(tag[0])
        elif name == "img":
            in_link = any(opened == "a" for opened, _ in ends)
            links += 1
            out.append(_picture(tag["attributes"], as_link=not in_link and links <= MAX_LINKS))
        else:
            links += name == "a"
            dropped = len(ends) >= MAX_DEPTH or (name == "a" and links > MAX_LINKS)
            start, end = ("", "") if dropped else _element(name, tag["attributes"])
            without_mentions += name in TAGS_WITHOUT_MENTIONS
            ends.append((name, end))
            out.append(start)
    out.append(_paragraph(_with_mentions(html[position:], mark)))
    return "".join(out)


def _element(name: str, attributes: str) -> tuple[str, str]:
    """Return the tag that stands for one of comrak's, and its end; both empty for a link that leads nowhere."""
    if name == "a":
        href = _attribute(attributes, "href")
        if not _LINK.match(href):
            return "", ""
        return f"<a{attributes}{'' if _OWN_LINK.match(href) else NEW_TAB}>", "</a>"
    name = HEADINGS.get(name, name)
    return f"<{name}{attributes}>", f"</{name}>"


def _picture(attributes: str, *, as_link: bool) -> str:
    """Show a link to a picture: loading it by itself would tell its host who reads, and when."""
    source = _attribute(attributes, "src")
    text = _attribute(attributes, "alt") or source
    return f'<a href="{source}"{NEW_TAB}>{text}</a>' if as_link and _LINK.match(source) else text


def _paragraph(text: str) -> str:
    """Give text outside of any element, which is what is left of a block of raw HTML, the form of a paragraph."""
    lines = text.strip().replace("\n", "<br>\n")
    return f"<p>{lines}</p>\n" if lines else text


def _attribute(attributes: str, name: str) -> str:
    """Return the value as it stands in the tag, entities and all."""
    values: dict[str, str] = dict(_ATTRIBUTE.findall(attributes))
    return values.get(name, "")


def _with_mentions(text: str, mark: Mark) -> str:
    if "@" not in text:
        return text

    def marked(match: re.Match[str]) -> str:
        username = match["username"].lower()
        user = mark(username) if len(username) <= USERNAME_MAX_CHARS else None
        return match[0] if user is None else f'<span class="mention" data-user="{user}">{match[0]}</span>'

    return _MENTION.sub(marked, text, count=MAX_MENTIONS_IN_A_ROW)


# --- the two engines ---


def _to_html(content: str) -> str:
    html: str = comrak.render_markdown(content, _EXTENSIONS, _PARSING, _RENDERING)
    return html


_EXTENSIONS = comrak.ExtensionOptions()
_EXTENSIONS.autolink = True
_EXTENSIONS.strikethrough = True
_PARSING = comrak.ParseOptions()
_RENDERING = comrak.RenderOptions()
_RENDERING.escape = True  # raw HTML is shown as it was typed
_RENDERING.hardbreaks = True  # a line break in a message is meant

_CLEANER = nh3.Cleaner(
    tags=TAGS,
    attributes={"a": {"href", "title"}, "ol": {"start"}, "span": {"data-user"}},
    tag_attribute_values={"a": {"target": {"_blank"}}, "span": {"class": {"mention"}}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow ugc",
)
