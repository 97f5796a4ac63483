import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None, print_blob=True)  # machines are shared
settings.load_profile("patient")
ROOT = Path(__file__).resolve().parent.parent
os.chdir(ROOT)  # configs/ and tools/ are named from the top of the project


@pytest.fixture(scope="session")
def photographs():
    """The folder of real photographs beside the project."""
    folder = ROOT.parent / "shared" / "datasets"
    if not folder.is_dir():
        pytest.skip("needs ../shared/datasets, real photographs beside the project")
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Five scenes of the demo, or as many as one_by_one.PICTURES says."""
    from detectron2_patch.data import demo
    from detectron2_patch.data.coco import load_coco

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "IMAGES", {"val": max(5, int(os.environ.get("PICTURES", "0")))})
        return load_coco("scenes", *demo.ensure_demo("val", tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="session")
def shaped(scenes, tmp_path_factory):
    """The scenes with a mask and keypoints to each box."""
    from detectron2_patch.data.coco import load_coco

    document = json.loads(scenes.json_file.read_text())
    for one in document["annotations"]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        one["keypoints"] = [x + w / 2, y + h / 2, 2] * 17
        one["num_keypoints"] = 17
    file = tmp_path_factory.mktemp("shaped") / "shapes.json"
    file.write_text(json.dumps(document))
    return load_coco("shaped", file, scenes.image_root)


@pytest.fixture(scope="session")
def engine():
    from demo_engine import build

    return build("torchvision")


@pytest.fixture
def make_sweep(engine, scenes, tmp_path):
    """Makes a sweep of the scenes; any of its attributes can be given."""
    from functools import partial

    from detectron2_patch.results.schema import make_result
    from detectron2_patch.sweep.task import Sweep

    def make(versions=None, **fields):
        describe = partial(
            make_result,
            args={"given": "here"},
            dataset=scenes,
            weights_path="w.pth",
            weights_sha256="0",
            config_digest="",
            config_file=None,
            engine="torchvision",
            versions=versions or {"torch": "1", "device": "cpu"},
        )

        def by_name(setting, results, payload, seconds):
            return describe(setting=setting, results=results, payload=payload, seconds=seconds)

        given = {"folder": tmp_path / "results", "processes": 1, **fields}
        return Sweep(**{"engine": engine, "dataset": scenes, "describe": by_name, **given})

    return make
