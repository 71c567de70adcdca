from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupspaces import markdown
from groupspaces.markdown import ALL, MAX_DEPTH, MAX_LINKS, MAX_MENTIONS, parse

MESSAGE_MAX_CHARS = 8_000
PEOPLE = {"ann": 7, "bob-smith": 8}
ATTRIBUTES = {
    "a": {"href", "title", "rel", "target"},
    "ol": {"start"},
    "span": {"class", "data-user"},
}


def render(content: str, mentions: Mapping[str, int] | None = None, *, mentions_all: bool = False) -> str:
    return parse(content).html(mentions or {}, mentions_all=mentions_all)


def mentioned_usernames(content: str) -> set[str]:
    return parse(content).usernames


class Elements(HTMLParser):
    """Reads HTML as a browser would: tags with attributes, text, and how deep they stand."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.depth = self.deepest = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in markdown.VOID_TAGS:
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append(("!--", {}))

    def handle_decl(self, decl: str) -> None:
        self.tags.append(("!", {}))

    def handle_pi(self, data: str) -> None:
        self.tags.append(("?", {}))

    def unknown_decl(self, data: str) -> None:
        self.tags.append(("![", {}))


def assert_safe(html: str) -> Elements:
    elements = Elements(html)
    for tag, attributes in elements.tags:
        assert tag in markdown.TAGS, html
        assert attributes.keys() <= ATTRIBUTES.get(tag, set()), html
        if tag == "a":
            href = attributes.get(
                "href", "/"
            )  # nh3 leaves no address that browsers might read in their own way
            assert re.match(r"(?i)https?:|mailto:|/", href or ""), html
            assert attributes["rel"] == "noopener noreferrer nofollow ugc"
        if tag == "span":
            assert attributes["class"] == "mention"
            assert re.fullmatch(r"\d+|all", attributes["data-user"] or ""), html
    assert elements.depth == 0
    assert elements.deepest <= MAX_DEPTH + 1
    return elements


def plain(html: str) -> str:
    return " ".join(Elements(html).text.split())


# --- what survives ---


@pytest.mark.parametrize(
    ("content", "html"),
    [
        ("one\ntwo\n\nthree", "<p>one<br>\ntwo</p>\n<p>three</p>"),
        ("*a* **b** ~~c~~ `d`", "<p><em>a</em> <strong>b</strong> <del>c</del> <code>d</code></p>"),
        ("```py\nif a < b:\n    pass\n```", "<pre><code>if a &lt; b:\n    pass\n</code></pre>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
        ("> said", "<blockquote>\n<p>said</p>\n</blockquote>"),
        ("# Big\n### Small", "<h4>Big</h4>\n<h6>Small</h6>"),
        ("a\n\n---\n\nb", "<p>a</p>\n<hr>\n<p>b</p>"),
    ],
)
def test_markdown_becomes_html(content: str, html: str) -> None:
    assert render(content).strip() == html


def test_links_open_outside_and_tell_nothing() -> None:
    html = render("see https://example.org/a?b=1&c=2, www.example.org or [here](http://example.org 'title')")
    links = [attributes for tag, attributes in assert_safe(html).tags if tag == "a"]
    assert [link["href"] for link in links] == [
        "https://example.org/a?b=1&c=2",
        "http://www.example.org",
        "http://example.org",
    ]
    assert {link["target"] for link in links} == {"_blank"}
    assert links[2]["title"] == "title"


def test_links_within_the_app_stay_in_it() -> None:
    (link,) = [attributes for tag, attributes in assert_safe(render("[us](/spaces/1)")).tags if tag == "a"]
    assert link["href"] == "/spaces/1"
    assert "target" not in link


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "JaVaScript:alert(1)", "data:text/html,x", "ftp://x", "x"]
)
def test_other_addresses_leave_only_their_text(address: str) -> None:
    elements = assert_safe(render(f"[text]({address})"))
    assert [tag for tag, _ in elements.tags] == ["p"]
    assert elements.text.strip() == "text"


def test_pictures_become_links_because_loading_them_tells_who_reads() -> None:
    html = render(
        "![a cat](https://example.org/cat.png) ![](https://example.org/dog.png) ![bad](javascript:1)"
    )
    elements = assert_safe(html)
    assert [attributes.get("href") for tag, attributes in elements.tags if tag == "a"] == [
        "https://example.org/cat.png",
        "https://example.org/dog.png",
    ]
    assert plain(html) == "a cat https://example.org/dog.png bad"
    linked = render("[![a cat](https://example.org/cat.png)](https://example.org)")
    assert [attributes.get("href") for tag, attributes in assert_safe(linked).tags if tag == "a"] == [
        "https://example.org"
    ]


def test_raw_html_is_shown_as_it_was_typed() -> None:
    typed = "<script>alert(1)</script> <b onclick='x'>bold</b> <!-- c -->"
    html = render(typed)
    assert plain(html) == typed
    assert [tag for tag, _ in assert_safe(html).tags] == ["p"]
    assert render("<div>\nfor @ann\n</div>", PEOPLE) == (
        '<p>&lt;div&gt;<br>\nfor <span class="mention" data-user="7">@ann</span><br>\n&lt;/div&gt;</p>\n'
    )


# --- mentions ---


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("@ann", {"ann"}),
        ("Hi @Ann, @BOB-smith.", {"ann", "bob-smith"}),
        ("(@ann) **@ann**! @ann's _@ann_", {"ann"}),
        ("> @ann\n\n- @bob-smith", {"ann", "bob-smith"}),
        ("@all come", {ALL}),
        ("`@ann` and\n```\n@ann\n```\n\n    @ann", set()),
        ("ann@example.org me@ann /@ann https://example.org/@ann [@ann](https://example.org)", set()),
        ("@ann_x @ann.lee @ann.Then", {"ann_x", "ann.lee", "ann.then", "ann"}),
        ("@ann_ @ann.. @@ann @annä @ann@example.org @", {"ann"}),
        ("@" + "a" * 41, set()),
        ("@" + "a" * 40, {"a" * 40}),
        ("[x](https://example.org '@ann') ![@ann](https://example.org/x.png)", set()),
    ],
)
def test_mentions_are_found_outside_code_links_and_addresses(content: str, found: set[str]) -> None:
    assert mentioned_usernames(content) == found
    marked = {
        attributes["data-user"]
        for tag, attributes in assert_safe(render(content, PEOPLE, mentions_all=True)).tags
        if tag == "span"
    }
    assert marked == {str(PEOPLE.get(name, ALL)) for name in found if name in PEOPLE or name == ALL}


def test_a_mention_carries_the_id_and_keeps_the_text() -> None:
    assert render("Hi @Ann", PEOPLE) == '<p>Hi <span class="mention" data-user="7">@Ann</span></p>\n'


def test_names_of_nobody_and_all_without_the_right_stay_plain() -> None:
    assert render("@carol and @all", PEOPLE) == "<p>@carol and @all</p>\n"
    assert 'data-user="all"' in render("@all", mentions_all=True)


# --- what anybody may send ---

PIECES = [
    "@ann ", "@all", "@", "a@b.c ", "*", "**", "_", "~~", "`", "```", "``` x\" onclick=y\n", "[", "](", ")", "![", "> ", "- ", "1. ",
    "# ", "<", ">", "<a href=", "<script>", "</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<!--", "-->", "<?",
    "<![CDATA[", "]]>", "javascript:", "data:text/html,", "&#106;avascript:", "&lt;", "&", "&amp;", "\"", "'", "onclick=", "\\", "\n",
    "\n\n", "\t", "    ", "\x00", "\x0b", "\u202e", "\ufeff", "http://", "https://x.org/", "www.x.org", "mailto:", "xmpp:a@b.c", "[a]: ",
    "[a]", "<https://x.org>", "<javascript:alert(1)>", "|", "---\n", "style=", "é", "😀", "<p>", "</p>", "</span>", "<style>", "<math>",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=60).map("".join))
@settings(max_examples=600, deadline=None)
def test_nothing_that_runs_comes_out(content: str) -> None:
    assert_safe(render(content, PEOPLE, mentions_all=True))
    mentioned_usernames(content)


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
@settings(max_examples=300, deadline=None)
def test_what_is_marked_is_what_is_found(content: str) -> None:
    marked = {
        attributes["data-user"]
        for tag, attributes in Elements(render(content, PEOPLE, mentions_all=True)).tags
        if tag == "span"
    }
    found = mentioned_usernames(content)
    assert marked == {str(PEOPLE.get(name, ALL)) for name in found if name in PEOPLE or name == ALL}


@pytest.mark.parametrize("piece", PIECES)
def test_the_longest_message_of_one_piece_stays_small(piece: str) -> None:
    content = (piece * MESSAGE_MAX_CHARS)[:MESSAGE_MAX_CHARS]
    html = render(content, PEOPLE, mentions_all=True)
    elements = assert_safe(html)
    assert len(html) <= 16 * MESSAGE_MAX_CHARS
    assert sum(tag == "a" for tag, _ in elements.tags) <= MAX_LINKS


def test_nothing_typed_is_lost_where_limits_are_reached() -> None:
    quotes = "> " * 200 + "deep"
    assert plain(render(quotes)) == "deep"
    addresses = " ".join(f"www.x{number}.org" for number in range(MAX_LINKS + 5))
    assert plain(render(addresses)) == addresses


# --- what would take too long ---

TOO_MUCH = {
    "emphasis": "*a* _b_ " * 1_000,
    "nested quotes": "> " * 4_000,
    "list items": "- a\n" * 2_000,
    "addresses": "a@b.co " * 1_100,
    "entities": "<&" * 2_000,
}


@pytest.mark.parametrize("content", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_more_markup_than_anybody_needs_is_shown_as_it_was_typed(content: str) -> None:
    content = content[: MESSAGE_MAX_CHARS - 30] + "\n<b>\x00</b> @ann & @carol"
    html = render(content, PEOPLE)
    elements = assert_safe(html)
    assert {tag for tag, _ in elements.tags} <= {"p", "br", "span"}
    assert plain(html) == " ".join(content.replace("\x00", "\ufffd").split())
    assert html.count("<br>") == content.strip().count("\n")
    assert mentioned_usernames(content) == {"ann", "carol"}
    assert [attributes["data-user"] for tag, attributes in elements.tags if tag == "span"] == ["7"]


def test_a_long_message_with_much_in_it_is_still_markdown() -> None:
    line = "- **a point** to make, with a [link](https://example.org/a) and `code`\n"
    content = line * 60 + "```\n" + '{"id": 1, "name": "x"},\n' * 140 + "```"
    assert len(content) < MESSAGE_MAX_CHARS
    elements = assert_safe(render(content))
    assert [tag for tag, _ in elements.tags].count("li") == 60
    assert "**" not in elements.text


def test_only_so_many_mentions_are_marked() -> None:
    content = " *x* ".join("@ann " * 20 for _ in range(10))
    spans = [tag for tag, _ in assert_safe(render(content, PEOPLE)).tags if tag == "span"]
    assert len(spans) == MAX_MENTIONS


def test_the_mark_of_a_mention_cannot_be_typed() -> None:
    mark = '<span class="mention" data-user="ann">@ann</span>'
    for content in (f"[x](/y '{mark}')", f"[{mark}](/y)", f"`{mark}`", f"```\n{mark}\n```", f"![{mark}](/y)"):
        assert "data-user" not in [
            name for _, found in assert_safe(render(content, PEOPLE)).tags for name in found
        ]
        assert mentioned_usernames(content) == set()
