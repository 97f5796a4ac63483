"""The Korean pages say what the English ones say: what can be compared without reading Korean."""

import re
from pathlib import Path

import pytest

PAIRS = {
    "README.md": "README.ko.md",
    **{
        str(path).replace("/ko/", "/"): str(path)
        for path in sorted(Path("docs/ko").glob("*.md"))
        if path.stem != "index"  # of the site: the README
    },
}
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def read(name):
    return Path(name).read_text(encoding="utf-8")


def table_numbers(text):
    return [
        re.findall(r"-?\d+(?:[.,]\d+)*", line) for line in text.splitlines() if line.startswith("|")
    ]


def images(text):
    return [Path(name).name for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)]


def heading_levels(text):
    return re.findall(r"^#+", FENCED.sub("", text), re.MULTILINE)


def anchors(text):
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text):
    """Targets within the project: (file, anchor), either may be empty."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text))
    return [target.partition("#")[::2] for target in targets if "://" not in target]


@pytest.mark.parametrize("english", PAIRS)
@pytest.mark.parametrize("what", [FENCED.findall, table_numbers, images, heading_levels])
def test_both_have_the_same(english, what):
    assert what(read(PAIRS[english])) == what(read(english))


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
class TestReadme:
    def test_it_has_a_table_a_picture_and_commands(self, name):
        assert all(what(read(name)) for what in (FENCED.findall, table_numbers, images))

    def test_it_is_read_in_minutes(self, name):
        assert len(read(name).split()) <= 900


PAGES = sorted(map(str, [*Path().glob("*.md"), *Path("docs").rglob("*.md")]))


@pytest.mark.parametrize("name", PAGES)
class TestEach:
    def test_links_within_the_project_lead_somewhere(self, name):
        for file, anchor in links(read(name)):
            target = Path(name).parent / file if file else Path(name)
            assert target.exists(), file
            if anchor:
                assert anchor in anchors(read(target)), (file, anchor)

    def test_no_placeholder_is_left(self, name):
        assert "@@" not in read(name)
