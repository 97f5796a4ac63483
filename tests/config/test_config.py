from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.config import get_cfg, key_values, load_cfg, result_relevant
from detectron2_patch.config.support import ONLY, check_supported, matches
from detectron2_patch.config.values import RANGES
from detectron2_patch.errors import InputError

# of detectors: configs/codec has recipes
CONFIGS = sorted(
    str(path)
    for path in Path("configs").rglob("*.yaml")
    if "Base" not in path.name and path.parent.name != "codec"
)
R50 = "configs/COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"


def refused(call, *named):
    with pytest.raises(InputError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    for name in named:
        assert name in message


# torchvision's own models have an engine of their own: tests/tools/test_torchvision_models_tools.py
@pytest.mark.parametrize("path", [one for one in CONFIGS if "/torchvision/" not in one])
@pytest.mark.parametrize("training", [False, True])
def test_the_projects_configurations_are_supported(path, training):
    check_supported(load_cfg(path), training)


def test_defaults_are_detectron2s():
    theirs = pytest.importorskip(
        "detectron2.config", reason="compares with real detectron2, not installed here"
    ).get_cfg()
    wanted, ours = dict(key_values(theirs)), dict(key_values(get_cfg()))
    assert ours == wanted
    assert {k: type(v) for k, v in ours.items()} == {k: type(v) for k, v in wanted.items()}


@pytest.mark.parametrize("name", ["R_50_FPN_3x", "R_101_FPN_3x", "X_101_32x8d_FPN_3x"])
def test_coco_configurations_are_the_zoos(name):
    model_zoo = pytest.importorskip(
        "detectron2.model_zoo", reason="compares with real detectron2, not installed here"
    )
    file = f"COCO-Detection/faster_rcnn_{name}.yaml"
    ours = dict(key_values(load_cfg(f"configs/{file}")))
    assert ours == dict(key_values(model_zoo.get_config(file)))
    checkpoint = model_zoo.get_checkpoint_url(file).rpartition("/COCO-Detection/")[2]
    assert f"detectron2://COCO-Detection/{checkpoint}" in Path(f"configs/{file}").read_text()


@pytest.mark.parametrize("path", CONFIGS)
def test_detectron2_reads_the_projects_configurations(path):
    config = pytest.importorskip(
        "detectron2.config", reason="compares with real detectron2, not installed here"
    )
    theirs = config.get_cfg()
    theirs.merge_from_file(path)
    assert dict(key_values(theirs)) == dict(key_values(load_cfg(path)))


overrides = st.fixed_dictionaries(
    {},
    optional={
        "MODEL.RPN.NMS_THRESH": st.floats(0, 1),
        "MODEL.ROI_HEADS.NUM_CLASSES": st.integers(1, 500),
        "MODEL.RESNETS.STRIDE_IN_1X1": st.booleans(),
        "MODEL.RESNETS.NORM": st.sampled_from(["BN", "FrozenBN", ""]),
        "INPUT.MIN_SIZE_TRAIN": st.lists(st.integers(1, 999), min_size=1).map(tuple),
        "MODEL.ANCHOR_GENERATOR.SIZES": st.lists(
            st.lists(st.floats(1, 600), min_size=2, max_size=2), min_size=5, max_size=5
        ),
        "SOLVER.WEIGHT_DECAY_BIAS": st.none(),
    },
)


@given(overrides)
def test_a_full_dump_reads_back_to_the_same(tmp_path_factory, pairs):
    cfg = load_cfg(R50, [str(part) for pair in pairs.items() for part in pair])
    file = tmp_path_factory.mktemp("dump") / "config.yaml"
    file.write_text(cfg.dump())
    again = load_cfg(file)
    assert again.dump() == cfg.dump()
    check_supported(again, training=True)


def test_bases_chain_and_the_upper_file_wins(tmp_path):
    (tmp_path / "a.yaml").write_text("SEED: 1\nVIS_PERIOD: 3\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nSEED: 2\n")
    (tmp_path / "c.yaml").write_text("_BASE_: b.yaml\nOUTPUT_DIR: there\n")
    cfg = load_cfg(tmp_path / "c.yaml", ["OUTPUT_DIR", "here"])
    assert (cfg.SEED, cfg.VIS_PERIOD, cfg.OUTPUT_DIR) == (2, 3, "here")


def test_numbers_without_a_point_read_as_detectron2_reads_them(tmp_path):
    (tmp_path / "a.yaml").write_text("SOLVER:\n  BASE_LR: 1e-4\n  STEPS: (1, 2)\n")
    cfg = load_cfg(tmp_path / "a.yaml", ["SOLVER.GAMMA", "1e-2"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA) == (1e-4, (1, 2), 1e-2)


@pytest.mark.parametrize(
    "text, named",
    [
        ("", "empty"),
        ("- 1\n- 2\n", "mapping"),
        ("just words", "mapping"),
        ("MODEL: [1, 2\n", "self.yaml:2:1"),
        ("MODEL:\n  MASK_ONN: True\n", "MODEL.MASK_ON"),
        ("MODEL: 3\n", "MODEL"),
        ("MODEL:\n  RESNETS:\n    DEPTH: fifty\n", "DEPTH"),
        ("SEED: {A: 1}\n", "SEED"),
        ("VERSION: 1\n", "VERSION"),
        ("_BASE_: self.yaml\n", "_BASE_"),
        ("_BASE_: missing.yaml\n", "missing.yaml"),
        ("_BASE_: 7\n", "_BASE_"),
        ("1: 2\n", "unknown configuration key 1"),
        ("SEED: !!python/object/apply:os.system ['touch ran']\n", "os.system"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, text, named, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("self.yaml").write_text(text)
    refused(lambda: load_cfg("self.yaml"), named)
    assert not Path("ran").exists()


def test_missing_files_folders_and_bytes_are_refused(tmp_path):
    refused(lambda: load_cfg(tmp_path / "none.yaml"), "none.yaml")
    refused(lambda: load_cfg(tmp_path), str(tmp_path))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x01")
    refused(lambda: load_cfg(tmp_path / "bytes.yaml"), "UTF-8")


def test_bad_overrides_are_refused():
    refused(lambda: load_cfg(None, ["SEED"]), "SEED", "KEY VALUE")
    refused(lambda: load_cfg(None, ["MODEL.RPN.NMS_TRESH", "1"]), "MODEL.RPN.NMS_THRESH")
    refused(lambda: load_cfg(None, ["MODEL.RPN", "1"]), "MODEL.RPN")
    refused(lambda: load_cfg(None, ["SEED", "abc"]), "SEED")


REFUSED_ALWAYS = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.KEYPOINT_ON": True,
    "MODEL.LOAD_PROPOSALS": True,
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.DEPTH": 51,
    "MODEL.RESNETS.RES5_DILATION": 2,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, True, True, True],
    "MODEL.RPN.IN_FEATURES": ["p3", "p4", "p5"],
    "MODEL.RPN.CONV_DIMS": [-1, -1],
    "MODEL.RPN.NMS_THRESH": 1.5,
    "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
    "MODEL.ROI_HEADS.NUM_CLASSES": 0,
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIPool",
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[1.0], [1.0], [1.0], [1.0], [1.0, 2.0]],
    "MODEL.PIXEL_STD": [1.0, 0.0, 1.0],
    "INPUT.FORMAT": "L",
    "TEST.AUG.ENABLED": True,
    "TEST.EXPECTED_RESULTS": [["bbox", "AP", 38.5, 0.2]],
    "FLOAT32_PRECISION": "high",
}
REFUSED_IN_TRAINING = {
    "MODEL.MASK_ON": True,
    "INPUT.CROP.ENABLED": True,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupPolyLR",
    "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": "giou",
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": True,
    "TEST.PRECISE_BN.ENABLED": True,
    "SOLVER.MAX_ITER": 0,
}


@pytest.mark.parametrize(
    "key, value", [("NAME", "Mine"), ("NORM", "LN"), ("CONV_DIM", 0), ("POOLER_TYPE", "ROIPool")]
)
def test_keys_of_the_mask_head_matter_where_there_is_one(key, value):
    opts = [f"MODEL.ROI_MASK_HEAD.{key}", str(value)]
    check_supported(load_cfg(R50, opts), training=False)
    masks = load_cfg(R50, [*opts, "MODEL.MASK_ON", "True"])
    refused(lambda: check_supported(masks, training=False), f"ROI_MASK_HEAD.{key}")


@pytest.mark.parametrize("key", REFUSED_ALWAYS)
def test_what_cannot_be_honoured_is_refused_by_name(key):
    cfg = load_cfg(R50, [key, str(REFUSED_ALWAYS[key])])
    refused(lambda: check_supported(cfg, training=False), key.rpartition(".")[0])


@pytest.mark.parametrize("key", REFUSED_IN_TRAINING)
def test_what_only_training_reads_matters_only_there(key):
    cfg = load_cfg(R50, [key, str(REFUSED_IN_TRAINING[key])])
    check_supported(cfg, training=False)
    refused(lambda: check_supported(cfg, training=True), key)


@pytest.mark.parametrize(
    "opts, named",
    [
        (["MODEL.RESNETS.DEPTH", "18"], "RES2_OUT_CHANNELS"),
        (
            [
                "MODEL.RESNETS.DEPTH",
                "34",
                "MODEL.RESNETS.RES2_OUT_CHANNELS",
                "64",
                "MODEL.RESNETS.NUM_GROUPS",
                "2",
            ],
            "NUM_GROUPS",
        ),
        (["MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", "40"], "MODEL.FPN.NORM"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(opts, named):
    refused(lambda: check_supported(load_cfg(R50, opts), training=False), named)


def test_every_listed_key_exists():
    known = [key for key, _ in key_values(get_cfg())]
    for pattern in [*ONLY, *RANGES]:
        assert any(matches(key, [pattern]) for key in known), pattern


def test_relevant_keys_tell_evaluations_apart_and_no_more():
    base = result_relevant(load_cfg(R50))
    for key, value in [
        ("SOLVER.BASE_LR", "0.1"),
        ("OUTPUT_DIR", "x"),
        ("MODEL.DEVICE", "cpu"),
        ("INPUT.MIN_SIZE_TRAIN", "(1,)"),
        ("MODEL.WEIGHTS", "x.pth"),
        ("MODEL.RPN.PRE_NMS_TOPK_TRAIN", "7"),
        ("DATALOADER.NUM_WORKERS", "0"),
    ]:
        assert result_relevant(load_cfg(R50, [key, value])) == base, key
    for key, value in [
        ("MODEL.RPN.NMS_THRESH", "0.6"),
        ("INPUT.MIN_SIZE_TEST", "640"),
        ("TEST.DETECTIONS_PER_IMAGE", "50"),
        ("MODEL.FPN.OUT_CHANNELS", "64"),
        ("MODEL.RPN.PRE_NMS_TOPK_TEST", "7"),
    ]:
        assert result_relevant(load_cfg(R50, [key, value])) != base, key
    assert yaml.safe_dump(base)


def test_keys_of_a_part_count_where_the_configuration_asks_for_it():
    key, mask = ["MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "7"], ["MODEL.MASK_ON", "True"]
    assert result_relevant(load_cfg(R50, key)) == result_relevant(load_cfg(R50))
    assert result_relevant(load_cfg(R50, mask + key)) != result_relevant(load_cfg(R50, mask))
    base = result_relevant(load_cfg(R50, mask))
    for ignored in (["SOLVER.BASE_LR", "1.0"], ["OUTPUT_DIR", "elsewhere"]):
        assert result_relevant(load_cfg(R50, mask + ignored)) == base
