import sys

import pytest

from detectron2_patch.config import load_cfg
from detectron2_patch.engines import choice
from detectron2_patch.errors import InputError


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Put a package named detectron2 of the given source in front of any real one."""

    def make(source):
        package = tmp_path / "detectron2"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "_C.py").write_text(source)
        (package / "modeling.py").write_text("")
        for name in [name for name in sys.modules if name.partition(".")[0] == "detectron2"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(tmp_path))

    yield make
    for name in ("detectron2", "detectron2._C", "detectron2.modeling"):
        sys.modules.pop(name, None)


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda: False)


def test_the_built_in_engine_is_never_in_question():
    assert choice.choose_engine("torchvision")[0] == "torchvision"


def test_auto_falls_back_and_says_why(missing):
    name, why = choice.choose_engine("auto")
    assert name == "torchvision" and "not installed" in why


def test_missing_detectron2_is_one_line_that_says_what_to_do(missing):
    with pytest.raises(InputError, match="not installed.*docs/detectron2.md") as caught:
        choice.choose_engine("detectron2")
    assert "\n" not in str(caught.value)


BROKEN = 'raise ImportError("_C.so: undefined symbol:\\n _ZN3c10")'


def test_broken_detectron2_is_one_line_that_says_what_to_do(installed):
    installed(BROKEN)
    with pytest.raises(InputError, match="broken.*undefined symbol.*docs/detectron2.md") as caught:
        choice.choose_engine("detectron2")
    assert "\n" not in str(caught.value)


def test_auto_leaves_a_broken_detectron2_and_says_why(installed):
    installed(BROKEN)
    name, why = choice.choose_engine("auto")
    assert name == "torchvision" and "undefined symbol" in why and "docs/detectron2.md" in why


def test_auto_takes_detectron2_where_it_works(detectron2):
    name, why = choice.choose_engine("auto")
    assert name == "detectron2" and detectron2.__version__ in why


def test_a_model_of_torchvisions_is_torchvisions_to_run(monkeypatch):
    cfg = load_cfg("configs/torchvision/fcos_resnet50_fpn.yaml")
    monkeypatch.setattr(choice, "detectron2_problem", lambda: pytest.fail("it was asked for"))
    name, why = choice.choose_engine("auto", cfg)
    assert name == "torchvision" and "torchvision's own" in why
