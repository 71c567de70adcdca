"""Markdown of people, made into HTML that is safe to insert in anybody's page.

Owns what survives: paragraphs, emphasis, code, lists, quotes, links, small headings and mentions. Three steps: comrak
(which escapes raw HTML, so that every tag after it is its own), a pass over these tags that shapes them and finds
mentions in the text between, then nh3 with a short list of what is allowed. The pass decides how it looks; nh3 alone
decides what is safe, so that a mistake in the pass can spoil a layout and nothing else. A text with more markup than
anybody needs is shown as it was typed instead, escaped: it must not keep everybody waiting.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import comrak
import nh3

ALL = "all"  # as in @all: everybody in the space; no account may have this name
USERNAME_MAX_CHARS = 40

# What goes beyond is kept as text. 8,000 characters could become 200 kB of quotes in quotes, or 1,300 links.
MAX_DEPTH = 16
MAX_LINKS = 200
MAX_MENTIONS = 100

# Beyond these a text is shown as it was typed. The first two spare comrak the texts that cost it most, the last one the
# two steps after it. Measured so that no text of 8,000 characters takes over about 2 ms; a long message with a list and a
# link in each line stays well below.
MAX_DELIMITERS = 2_400
MAX_ADDRESSES = 400
MAX_MARKUP = 2_000  # in units of what a character written as an entity costs: 0.7 µs
_TAG_COST, _LINK_COST = 2, 3
_DELIMITERS = '*_~[<>&"\n'

# A message is no page: its headings begin below those of the page around it.
HEADINGS = {"h1": "h4", "h2": "h5", "h3": "h6", "h4": "h6", "h5": "h6", "h6": "h6"}
TAGS_WITHOUT_MENTIONS = {"a", "code", "pre"}
VOID_TAGS = {"br", "hr"}
INLINE_TAGS = {"a", "code", "del", "em", "span", "strong"}
BLOCK_TAGS = {"blockquote", "li", "ol", "p", "pre", "ul"}
TAGS = {*HEADINGS.values(), *VOID_TAGS, *INLINE_TAGS, *BLOCK_TAGS}
NEW_TAB = ' target="_blank"'

_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)([^>]*)>")
_ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
# Letters and digits with hyphens, a dot or underscores between; not the middle of an e-mail address or a path.
_MENTION = re.compile(r"(?<![\w@/.+-])@(?P<username>[A-Za-z0-9]++(?:(?:-++|_++|\.)[A-Za-z0-9]++)*+)(?![\w@])")
_MARKED_MENTION = re.compile(r'<span class="mention" data-user="([a-z0-9._-]+)">(@[A-Za-z0-9._-]+)</span>')
_LINK = re.compile(r"(?i)https?://|mailto:|/")
_OWN_LINK = re.compile(r"/(?![/\\])")

_NOBODY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Text:
    """A text as sanitised HTML, taken apart where it mentions somebody: who that is only the primary knows."""

    # HTML, then for each mention the username in lower case, what was typed, and the HTML after it.
    parts: tuple[str, ...]

    @property
    def usernames(self) -> set[str]:
        """The usernames, in lower case, that `html` could mark; `ALL` among them when everybody is meant."""
        return {name for typed in self.parts[1::3] for name in _readings(typed)}

    def html(self, mentions: Mapping[str, int] = _NOBODY, *, mentions_all: bool = False) -> str:
        """Return the HTML.

        `mentions` maps usernames in lower case to user ids: `@ann` becomes
        `<span class="mention" data-user="7">@ann</span>`; with `mentions_all`, `@all` gets `data-user="all"`. Other names
        stay plain text. Of `@ann.but` the longest name is marked that there is.
        """
        people: Mapping[str, int | str] = {**mentions, ALL: ALL} if mentions_all else mentions
        first, *rest = self.parts
        out = [first]
        for username, typed, following in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            name = next((name for name in _readings(username) if name in people), None)
            if name is None:
                out += (typed, following)
            else:
                end = 1 + len(name)  # after the @
                out += (_mention(people[name], typed[:end]), typed[end:], following)
        return "".join(out)


def parse(content: str) -> Text:
    """Return `content` as sanitised HTML in which nobody is named yet. Names in code or links are no mentions.

    Takes about 60 µs for a short message and at most about 2 ms for 8,000 characters, whatever they are.
    """
    made = None
    if (
        sum(content.count(mark) for mark in _DELIMITERS) <= MAX_DELIMITERS
        and content.count("@") <= MAX_ADDRESSES
    ):
        made = _to_html(content)
        if _markup(made) > MAX_MARKUP:
            made = None
    safe = _as_typed(content) if made is None else _CLEANER.clean(_shaped(made))
    return Text(tuple(_MARKED_MENTION.split(safe)))


def _markup(made: str) -> int:
    """Return what there is to do for comrak's HTML; quotation marks in texts cost nothing, see `_shaped`."""
    links = made.count("<a ") + made.count("<img ")
    return _TAG_COST * made.count("<") + _LINK_COST * links + made.count("&") - made.count("&quot;")


def _as_typed(content: str) -> str:
    """Return a text without any markup but its lines and mentions."""
    text = html.escape(content.replace("\0", "\ufffd"), quote=False)
    return _paragraph(_Mentions().marked_in(text))


def _shaped(made: str) -> str:
    """Rewrite comrak's tags: headings small, pictures as links, depth and links limited, what may be mentions marked."""
    out: list[str] = []
    # Of open tags: comrak's name, and our closing tag ("" for a dropped one).
    ends: list[tuple[str, str]] = []
    mentions = _Mentions()
    without_mentions = 0
    links = open_links = 0
    first, *pieces = _TAG.split(made)
    out.append(_paragraph(mentions.marked_in(first)))
    for closing, name, attributes, text in zip(*(pieces[n::4] for n in range(4)), strict=True):
        if closing:
            opened, end = ends.pop() if ends else (name, "")
            without_mentions -= opened in TAGS_WITHOUT_MENTIONS
            open_links -= opened == "a"
            out.append(end)
        elif name in VOID_TAGS:
            out.append(f"<{name}>")
        elif name == "img":
            links += 1
            out.append(_picture(attributes, as_link=not open_links and links <= MAX_LINKS))
        else:
            links += name == "a"
            open_links += name == "a"
            dropped = len(ends) >= MAX_DEPTH or (name == "a" and links > MAX_LINKS)
            start, end = ("", "") if dropped else _element(name, attributes)
            without_mentions += name in TAGS_WITHOUT_MENTIONS
            ends.append((name, end))
            out.append(start)
        # Between tags it stands for itself, and nh3 takes as long for an entity as for half a tag: think of JSON.
        text = text.replace("&quot;", '"')
        if not without_mentions:
            text = mentions.marked_in(text)
        out.append(text if ends else _paragraph(text))
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


def _readings(typed: str) -> Iterator[str]:
    """Yield what may be the name in `ann.but`, the longest first: people forget the space after a full stop."""
    yield typed
    while (end := typed.rfind(".")) > 0:
        typed = typed[:end]
        yield typed


def _mention(user: int | str, typed: str) -> str:
    return f'<span class="mention" data-user="{user}">{typed}</span>'


class _Mentions:
    """Marks what may be a mention by the username, up to a number of them in one text."""

    def __init__(self) -> None:
        self._left = MAX_MENTIONS

    def marked_in(self, text: str) -> str:
        """Return a piece of the text with its mentions marked."""
        if "@" not in text or not self._left:
            return text
        text, marked = _MENTION.subn(self._marked, text, count=self._left)
        self._left -= marked
        return text

    @staticmethod
    def _marked(match: re.Match[str]) -> str:
        username = match["username"].lower()
        return _mention(username, match[0]) if len(username) <= USERNAME_MAX_CHARS else match[0]


# --- the two engines ---


def _to_html(content: str) -> str:
    made: str = comrak.render_markdown(content, _EXTENSIONS, _PARSING, _RENDERING)
    return made


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
