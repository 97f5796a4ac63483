"""An engine on a model that somebody else built, and modules that bring parts and keys."""

import sys

import numpy as np
import pytest
from random_models import random_model

from detectron2_patch.codec.fitted import KIND, Fitted
from detectron2_patch.codec.fitting import fit
from detectron2_patch.config import load_cfg
from detectron2_patch.config.defaults import added, default_values
from detectron2_patch.engines.base import Engine
from detectron2_patch.errors import InputError
from detectron2_patch.pipeline import evaluate
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.run import run

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")


@pytest.fixture(scope="module")
def lazy():
    """Faster R-CNN of a LazyConfig, as the zoo writes it, and its mapper."""
    from detectron2.config import LazyCall as L
    from detectron2.config import LazyConfig, instantiate
    from detectron2.data import DatasetMapper
    from detectron2.data import transforms as T

    file = Zoo.folder() / "common" / "models" / "mask_rcnn_fpn.py"
    cfg = LazyConfig.load(str(file)).model
    cfg.backbone.bottom_up.stages.depth = 18
    cfg.backbone.bottom_up.stages.pop("stride_in_1x1")
    cfg.backbone.out_channels = 8
    cfg.proposal_generator.head.in_channels = 8
    for part in ("mask_in_features", "mask_pooler", "mask_head"):
        cfg.roi_heads.pop(part)
    cfg.roi_heads.num_classes = 6  # those of the scenes
    cfg.roi_heads.box_head.input_shape.channels = 8
    cfg.roi_heads.box_head.fc_dims = [8, 8]
    cfg.roi_heads.box_predictor.input_shape.channels = 8
    cfg.roi_heads.box_predictor.test_score_thresh = 0.01
    model = instantiate(cfg)
    from random_models import liven

    liven(model)
    shortest = L(T.ResizeShortestEdge)(short_edge_length=128, max_size=1000)
    mapper = L(DatasetMapper)(is_train=False, augmentations=[shortest], image_format="BGR")
    return model, instantiate(mapper)


class Zoo:
    @staticmethod
    def folder():
        from detectron2_patch.engines.zoo import _folder

        return _folder() / "configs"


def test_a_lazyconfigs_model_is_evaluated_coded_and_swept(lazy, scenes, make_sweep):
    engine = Engine.from_model(*lazy)
    assert engine.factorises() is None and engine.doubt() is None
    pyramids = [engine.pyramid(engine.batch([engine.read(scenes.image_path(scenes.images[0]))]))]
    fitted = Fitted({"kind": KIND, "images": []}, fit(pyramids))
    words = ("--cr 2 1 4 1 1", "--bits 3", "--send p3 p5 --restore fit --bits 4", "--image jpeg:50")
    settings = [Setting.parse(one, fitted) for one in words]
    sweep = make_sweep(engine=engine, settings=settings, fitted=fitted)
    run(sweep)
    found = {Setting.from_json(r["setting"]): r for r in load_results(sweep.folder)}
    assert len(found) == len(words)
    for setting in settings:
        wanted = evaluate(engine, scenes, setting, fitted=fitted)
        assert found[setting]["results"]["bbox"] == wanted.results["bbox"]
        assert found[setting]["payload"] == wanted.payload


def test_it_finds_what_the_configured_engine_finds(scenes):
    from detectron2.data import DatasetMapper

    configured = random_model()
    engine = Engine.from_model(configured.model, DatasetMapper(configured.cfg, is_train=False))
    path = scenes.image_path(scenes.images[0])
    wanted, found = (one.detect(one.read(path)) for one in (configured, engine))
    assert len(wanted["scores"]) > 20
    assert all(np.array_equal(wanted[key], found[key]) for key in wanted)
    for name in ("post_nms_topk", "score_threshold", "nms_threshold", "detections_per_image"):
        assert getattr(engine, name) == getattr(configured, name) is not None


MODULE = """
from detectron2.config import CfgNode as CN
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads

def add_mine_config(cfg):
    cfg.MODEL.MINE = CN()
    cfg.MODEL.MINE.TIMES = 2

@META_ARCH_REGISTRY.register()
class MineRCNN(GeneralizedRCNN):
    pass

@ROI_HEADS_REGISTRY.register()
class MineHeads(StandardROIHeads):
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's in the working folder; what it adds is taken away again."""
    from detectron2.modeling import META_ARCH_REGISTRY
    from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY

    from detectron2_patch.config import defaults
    from detectron2_patch.engines import imports

    (tmp_path / "mine_of_a_user.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mine_of_a_user"
    sys.modules.pop("mine_of_a_user", None)
    imports._done.discard("mine_of_a_user")
    added.clear()
    defaults._defaults.cache_clear()
    default_values.cache_clear()
    META_ARCH_REGISTRY._obj_map.pop("MineRCNN", None)
    ROI_HEADS_REGISTRY._obj_map.pop("MineHeads", None)


def test_an_imported_module_brings_its_parts_and_keys(mine):
    from detectron2_patch.engines.choice import check_config
    from detectron2_patch.engines.imports import import_modules

    import_modules([mine, mine])
    opts = ["MODEL.META_ARCHITECTURE", "MineRCNN", "MODEL.ROI_HEADS.NAME", "MineHeads"]
    engine = random_model([*opts, "MODEL.MINE.TIMES", 3])
    check_config("detectron2", load_cfg("configs/demo.yaml", opts), training=False)
    assert type(engine.model).__name__ == "MineRCNN" and engine.cfg.MODEL.MINE.TIMES == 3
    assert engine.factorises() is None and "MineRCNN" in engine.doubt()


def test_without_it_they_are_unknown():
    with pytest.raises(InputError, match="unknown configuration key MODEL.MINE.TIMES"):
        load_cfg("configs/demo.yaml", ["MODEL.MINE.TIMES", "3"])


def test_a_module_that_fails_is_one_line(tmp_path, monkeypatch):
    from detectron2_patch.engines.imports import import_modules

    (tmp_path / "broken_of_a_user.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, reason in (("broken_of_a_user", "ZeroDivisionError"), ("no_such", "No module")):
        with pytest.raises(InputError, match=reason) as caught:
            import_modules([name])
        assert "\n" not in str(caught.value)
