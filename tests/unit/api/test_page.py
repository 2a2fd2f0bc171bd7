"""The status page, as a browser that takes the standards seriously would read it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from tests.unit.api.serving import Serving


class Page(HTMLParser):
    """Checks that tags nest, and collects them."""

    VOID = frozenset({"meta", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.tags if name == tag)


async def test_the_page_is_whole_and_accessible(served: Serving) -> None:
    answer = await served.ask("/", tcp=True)
    assert answer.headers["Content-Type"].startswith("text/html")
    page = Page(answer.text)
    assert ("html", {"lang": "en"}) in page.tags
    assert page.count("h1") == page.count("main") == page.count("title") == 1
    assert page.count("table") == page.count("caption") >= 3
    assert all(attributes.get("scope") == "col" for tag, attributes in page.tags if tag == "th")
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in page.tags
    assert page.count("script") == 0


async def test_its_style_is_the_only_thing_that_the_policy_lets_in(served: Serving) -> None:
    answer = await served.ask("/", tcp=True)
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
    assert 'style="' not in answer.text


async def test_what_peers_and_files_say_is_text_and_never_markup(served: Serving) -> None:
    served.appliance.violation_rows[0]["node"] = "<script>alert(1)</script>"
    served.appliance.status_row["name"] = "a&b<i>"
    text = (await served.ask("/")).text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "a&amp;b&lt;i&gt; is" in text


async def test_problems_are_on_top(served: Serving) -> None:
    status = served.appliance.status_row
    status["problems"] = [{"severity": "warning", "text": "The allocations are 20 minutes old."}]
    status["ipam"] |= {"held": {"removed": 9}, "error": "no such file"}
    text = (await served.ask("/")).text
    assert text.index("The allocations are 20 minutes old.") < text.index("<table")
    assert "A snapshot is held back" in text
    assert "no such file" in text


async def test_what_passes_in_an_observed_rack_has_a_table_of_its_own(served: Serving) -> None:
    assert "while their rack is observed" not in (await served.ask("/")).text
    served.appliance.violation_rows[0]["enforced"] = False
    text = (await served.ask("/")).text
    assert "Nothing was rejected." in text
    assert text.index("while their rack is observed") < text.index("10.101.1.0/24")


async def test_an_empty_appliance_has_a_page_too(served: Serving) -> None:
    appliance = served.appliance
    appliance.peer_rows, appliance.violation_rows, appliance.event_rows = [], [], []
    appliance.status_row |= {"instances": [], "ready": False}
    text = (await served.ask("/")).text
    assert "not ready" in text
    assert "Nothing was rejected." in text
