"""README.ko.md says what README.md says: what can be compared without reading Korean."""

import re
from pathlib import Path

import pytest

ENGLISH, KOREAN = (Path(name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def table_numbers(text):
    return [
        re.findall(r"-?\d+(?:[.,]\d+)*", line) for line in text.splitlines() if line.startswith("|")
    ]


def images(text):
    return re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)


def anchors(text):
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("what", [FENCED.findall, table_numbers, images])
def test_both_have_the_same(what):
    assert what(ENGLISH) and what(KOREAN) == what(ENGLISH)


@pytest.mark.parametrize("text", [ENGLISH, KOREAN], ids=["English", "Korean"])
class TestEach:
    def test_links_within_lead_to_a_heading(self, text):
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors(text)

    def test_no_placeholder_is_left(self, text):
        assert "@@" not in text
