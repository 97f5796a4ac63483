"""The site of docs/, as CI builds it: without a warning, without a network."""

import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

import detectron2_patch

pytestmark = pytest.mark.skipif(
    not all(util.find_spec(name) for name in ("furo", "myst_parser", "sphinx")),
    reason="needs the extra docs",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    strict = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    nowhere = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*strict, "docs", str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, **nowhere, "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site):
    for page in Path("docs").rglob("*.md"):
        html = site / page.relative_to("docs").with_suffix(".html")
        assert "](" not in re.sub(r"<(pre|code).*?</\1>", "", html.read_text("utf-8"), flags=re.S)


def test_the_reference_has_every_public_name(site):
    html = (site / "api.html").read_text("utf-8")
    homes = {**detectron2_patch._HOMES}
    missing = [
        name for name, home in homes.items() if f'id="detectron2_patch.{home}.{name}"' not in html
    ]
    assert missing == []
