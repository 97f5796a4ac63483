from pathlib import Path

import pytest
import yaml

from detectron2_patch.config import load_cfg
from detectron2_patch.engines import zoo
from detectron2_patch.engines.detectron2_config import check_supported
from detectron2_patch.errors import InputError

FOLDERS = ("COCO-Detection", "COCO-InstanceSegmentation", "COCO-Keypoints")
WORKING = ("faster_rcnn_*_FPN_*.yaml", "mask_rcnn_*_FPN_*.yaml", "keypoint_rcnn_*_FPN_*.yaml")
REFUSED = {
    "COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml": "LOAD_PROPOSALS|PrecomputedProposals",
    "COCO-Detection/rpn_R_50_FPN_1x.yaml": "ProposalNetwork",
    "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml": "RPN.IN_FEATURES.*C4",
    "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml": "RPN.IN_FEATURES.*DC5",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml": "RPN.IN_FEATURES",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml": "PanopticFPN",
    "Misc/semantic_R_50_FPN_1x.yaml": "SemanticSegmentor",
}


def short_names(detectron2):
    configs = Path(detectron2.__file__).parent / "model_zoo" / "configs"
    files = [
        f for folder in FOLDERS for pattern in WORKING for f in (configs / folder).glob(pattern)
    ]
    files += (configs / "Misc").glob("cascade_mask_rcnn_R_50_FPN_*.yaml")
    return sorted(file.relative_to(configs).as_posix() for file in files)


def test_every_model_with_an_fpn_works_by_its_short_name(detectron2, monkeypatch, tmp_path):
    names = short_names(detectron2)
    assert len(names) >= 15
    monkeypatch.chdir(tmp_path)  # where no file of that name lies
    for name in names:
        file = zoo.find_config(name)
        check_supported(load_cfg(file), training=False)
        weights = zoo.zoo_weights(file)
        if name.endswith("_giou.yaml"):  # the zoo has no weights of this one
            assert weights is None
        else:
            assert weights.startswith(f"detectron2://{name.removesuffix('.yaml')}/")
            assert weights.endswith(".pkl")


@pytest.mark.parametrize(
    "name",
    [
        "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml",
        "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
        "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml",
    ],
)
def test_configuration_and_weights_are_those_of_detectron2(detectron2, name):
    from detectron2.config import get_cfg

    from detectron2_patch.engines.detectron2_config import to_detectron2

    model_zoo = pytest.importorskip(
        "detectron2.model_zoo.model_zoo",
        exc_type=ImportError,
        reason="detectron2.model_zoo needs pkg_resources",
    )
    file = zoo.find_config(name)
    assert str(file) == model_zoo.get_config_file(name)
    address = zoo.zoo_weights(file).replace("detectron2://", model_zoo._ModelZooUrls.S3_PREFIX)
    assert address == model_zoo.get_checkpoint_url(name)
    wanted = get_cfg()
    wanted.merge_from_file(str(file))
    wanted.MODEL.DEVICE = "cpu"
    found = to_detectron2(load_cfg(file), "cpu")
    assert yaml.safe_load(found.dump()) == yaml.safe_load(wanted.dump())


@pytest.mark.parametrize("name, reason", REFUSED.items())
def test_other_models_are_refused_by_name(detectron2, name, reason):
    with pytest.raises(InputError, match=reason) as caught:
        check_supported(load_cfg(zoo.find_config(name)), training=False)
    assert "\n" not in str(caught.value) and "an RPN" in str(caught.value)


def test_a_lazyconfig_is_refused_by_name():
    with pytest.raises(InputError, match="fcos_R_50_FPN_1x.py is a LazyConfig"):
        zoo.find_config("COCO-Detection/fcos_R_50_FPN_1x.py")


@pytest.mark.parametrize(
    "opts, reason",
    [(["TEST.AUG.ENABLED", "True"], "TEST.AUG"), (["TEST.EXPECTED_RESULTS", "[[1]]"], "EXPECTED")],
)
def test_what_would_be_ignored_is_refused(opts, reason):
    with pytest.raises(InputError, match=reason):
        check_supported(load_cfg("configs/demo.yaml", opts), training=False)


def test_a_path_wins_over_a_short_name(monkeypatch, tmp_path):
    (tmp_path / "COCO-Detection").mkdir()
    mine = tmp_path / "COCO-Detection" / "faster_rcnn_R_50_FPN_3x.yaml"
    mine.write_text("VERSION: 2")
    monkeypatch.chdir(tmp_path)
    assert zoo.find_config("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml").samefile(mine)
    assert zoo.zoo_weights(mine) is None


def test_without_detectron2_names_are_paths(monkeypatch):
    monkeypatch.setattr(zoo, "_folder", lambda: None)
    assert zoo.find_config("COCO-Detection/none.yaml") == Path("COCO-Detection/none.yaml")
    assert zoo.zoo_weights(Path("configs/demo.yaml")) is None


def test_a_pyramid_of_other_levels_is_no_c4():
    opts = ["MODEL.RPN.IN_FEATURES", "['p2', 'p3', 'p4', 'p5']"]
    check_supported(load_cfg("configs/demo.yaml", opts), training=False)


def test_the_zoos_retinanet_is_read_and_taken(detectron2, monkeypatch, tmp_path):
    from detectron2_patch.config.levels import class_count, levels_of

    monkeypatch.chdir(tmp_path)
    cfg = load_cfg(zoo.find_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml"))
    check_supported(cfg, training=False)
    assert levels_of(cfg) == ("p3", "p4", "p5", "p6", "p7") and class_count(cfg) == 80
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES[1] == [64, 64 * 2 ** (1.0 / 3), 64 * 2 ** (2.0 / 3)]


def test_a_file_is_no_retinanet_by_its_name(tmp_path):
    mine = tmp_path / "retinanet_was_worse_so_faster_rcnn.yaml"
    mine.write_text("VERSION: 2")
    assert zoo.find_config(str(mine)) == mine
