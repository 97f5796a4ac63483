"""The command on real detectron2."""

import json

import pytest
import torch

from detectron2_patch import load_results

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")


def run(train_net, arguments):
    assert train_net.main(arguments) == 0


def test_both_engines_write_the_same_result(train_net, command, tiny):
    """Only the engine's name and the versions tell the files apart."""
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    found = []
    for engine in ("torchvision", "detectron2"):
        folder = tiny / engine
        arguments = command("--cr", "2", "4", "8", "4", "2", opts=opts, engine=engine)
        arguments[arguments.index("--results-dir") + 1] = str(folder)
        run(train_net, arguments)
        (result,) = load_results(folder)
        found.append(result)
    ours, theirs = found
    assert ours["results"]["bbox"] == pytest.approx(theirs["results"]["bbox"], abs=1e-6)
    assert (ours["engine"], theirs["engine"]) == ("torchvision", "detectron2")
    assert theirs["versions"].keys() - ours["versions"].keys() == {"detectron2"}
    for result in found:
        for name in ("engine", "results_dir"):
            result["args"].pop(name)
        for name in ("engine", "versions", "seconds", "results"):
            result.pop(name)
    assert ours == theirs


def test_auto_says_which_engine_and_why(train_net, command, tiny, capsys):
    run(train_net, command(engine="auto"))
    assert "engine detectron2: it is installed" in capsys.readouterr().err
    (result,) = load_results(tiny / "results")
    assert result["engine"] == "detectron2"


def add_shapes(tiny):
    """Give the tiny dataset's boxes a mask and 17 keypoints."""
    json_file = tiny / "boxes.json"
    document = json.loads(json_file.read_text())
    for annotation in document["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotation["keypoints"] = [x + 3, y + 4, 2] * 17
        annotation["num_keypoints"] = 17
    json_file.write_text(json.dumps(document))


SMALL_HEADS = [
    "MODEL.ROI_MASK_HEAD.CONV_DIM",
    "8",
    "MODEL.ROI_MASK_HEAD.NUM_CONV",
    "1",
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS",
    "(8,)",
    "MODEL.RESNETS.NUM_GROUPS",
    "1",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    "0.0",
    "TEST.DETECTIONS_PER_IMAGE",
    "10",
]


@pytest.mark.parametrize(
    "name, tasks",
    [
        ("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", {"bbox"}),
        ("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml", {"bbox"}),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", {"bbox", "segm"}),
        ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml", {"bbox", "keypoints"}),
        ("Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml", {"bbox", "segm"}),
    ],
)
def test_models_of_the_zoo_run_by_their_short_name(train_net, command, tiny, capsys, name, tasks):
    """Their own configurations, made narrow; weights at random, since none can be fetched."""
    add_shapes(tiny)
    arguments = command(
        "--cr", "1", "2", "4", "2", "1", "--scope", "pyramid", engine="detectron2", opts=SMALL_HEADS
    )
    arguments[arguments.index("--config-file") + 1] = name
    save_random_weights(name, arguments, tiny / "weights.pth")
    run(train_net, arguments)
    (result,) = load_results(tiny / "results")
    assert result["results"].keys() == tasks
    for task in tasks:
        assert result["results"][task]["AP"] is not None
    out = capsys.readouterr().out
    assert out.count("APs") == len(tasks)
    assert result["config"]["file"] == name


def save_random_weights(name, arguments, path):
    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.base import NetworkInput
    from detectron2_patch.engines.detectron2 import Detectron2Engine
    from detectron2_patch.engines.zoo import find_config

    opts = arguments[arguments.index("MODEL.RESNETS.STEM_OUT_CHANNELS") :]
    torch.manual_seed(0)
    engine = Detectron2Engine(load_cfg(find_config(name), opts), "cpu")
    noise = NetworkInput(torch.rand(3, 64, 64) * 255, (64, 64))
    spread = engine.pyramid(engine.batch([noise]))["p2"].std()
    state = engine.model.state_dict()
    for key in state:  # keep the maps in the range of a trained model's: nothing normalises them
        if "fpn_output" in key:
            state[key] /= spread
    torch.save({"model": state}, path)


def refused(train_net, arguments, tiny, capsys):
    assert train_net.main(arguments) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert not (tiny / "results").exists()
    return line


@pytest.mark.parametrize(
    "name, named",
    [
        ("COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml", "Fast R-CNN"),
        ("COCO-Detection/rpn_R_50_FPN_1x.yaml", "ProposalNetwork"),
        ("COCO-Detection/faster_rcnn_R_50_C4_1x.yaml", "C4"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py", "LazyConfig"),
    ],
)
def test_models_without_a_pyramid_to_patch_are_refused(
    train_net, command, tiny, capsys, name, named
):
    arguments = command(engine="detectron2")
    arguments[arguments.index("--config-file") + 1] = name
    assert named in refused(train_net, arguments, tiny, capsys)


def test_masks_that_the_data_lacks_are_refused(train_net, command, tiny, capsys):
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
    arguments = command(engine="detectron2", opts=SMALL_HEADS)
    arguments[arguments.index("--config-file") + 1] = name
    save_random_weights(name, arguments, tiny / "weights.pth")
    assert "no segmentation" in refused(train_net, arguments, tiny, capsys)


@pytest.mark.parametrize("content", ["half", "fewer", "nan", "pickle"])
def test_bad_weights_are_refused(train_net, command, tiny, capsys, content):
    path = tiny / "weights.pth"
    state = torch.load(path)["model"]
    name = "roi_heads.box_head.fc1.weight"
    if content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content == "fewer":
        torch.save({"model": {k: v for k, v in state.items() if k != name}}, path)
    elif content == "nan":
        torch.save({"model": {**state, name: state[name] * float("nan")}}, path)
    else:
        import pickle

        path.write_bytes(pickle.dumps({"model": {}, "run": print}))
    line = refused(train_net, command(engine="detectron2"), tiny, capsys)
    assert "weights.pth" in line
    assert content not in ("fewer", "nan") or name in line


@pytest.mark.parametrize("damaged", [False, True])
def test_trains_through_defaulttrainer(train_net, command, tiny, damaged):
    opts = [
        "MODEL.WEIGHTS",
        "",
        "SOLVER.MAX_ITER",
        "3",
        "SOLVER.IMS_PER_BATCH",
        "2",
        "SOLVER.AMP.ENABLED",
        "False",
        "OUTPUT_DIR",
        str(tiny / "out"),
        "DATALOADER.NUM_WORKERS",
        "0",
        "SOLVER.CHECKPOINT_PERIOD",
        "2",
    ]
    train = [
        "--train",
        "--train-data",
        str(tiny / "boxes.json"),
        str(tiny / "images"),
        "--cr",
        "8",
        "8",
        "8",
        "8",
        "4",
        *["--train-damaged"] * damaged,
    ]
    run(train_net, command(*train, engine="detectron2", opts=opts))
    assert (tiny / "out" / "last_checkpoint").read_text() == "model_final.pth"
    (line,) = (tiny / "out" / "metrics.json").read_text().splitlines()
    assert {"total_loss", "loss_rpn_cls", "loss_box_reg", "iteration"} <= set(json.loads(line))
    assert len(load_results(tiny / "results")) == 1
    resumed = [*opts, "SOLVER.MAX_ITER", "5"]
    run(train_net, command(*train, "--resume", engine="detectron2", opts=resumed))
    state = torch.load(tiny / "out" / "model_final.pth", weights_only=True)
    assert state["iteration"] == 4 and "trainer" in state


def test_training_reads_the_damaged_maps(tiny, command):
    """Only asked for, and only while training."""
    from detectron2_patch.config import load_cfg
    from detectron2_patch.data.coco import load_coco
    from detectron2_patch.engines.detectron2 import Detectron2Engine
    from detectron2_patch.patch import patch_rpn

    arguments = command(
        opts=[
            "MODEL.WEIGHTS",
            "",
            "SOLVER.MAX_ITER",
            "2",
            "SOLVER.AMP.ENABLED",
            "False",
            "SOLVER.IMS_PER_BATCH",
            "2",
            "OUTPUT_DIR",
            str(tiny / "out"),
            "DATALOADER.NUM_WORKERS",
            "0",
        ]
    )
    opts = arguments[arguments.index("MODEL.RESNETS.STEM_OUT_CHANNELS") :]
    engine = Detectron2Engine(load_cfg("configs/demo.yaml", opts), "cpu")
    dataset = load_coco("boxes", tiny / "boxes.json", tiny / "images")
    with patch_rpn(engine.model, {"p2": 4}, "pyramid") as patch:
        engine.train(dataset, None, resume=False)
    assert patch.calls == 2  # one an iteration
    assert patch.traffic.sent["p2"] < patch.traffic.full["p2"]
    assert not engine.model.training


@pytest.mark.parametrize(
    "opts, named",
    [
        (["SOLVER.AMP.ENABLED", "True"], "SOLVER.AMP.ENABLED is True"),
        (["TEST.EVAL_PERIOD", "10"], "TEST.EVAL_PERIOD"),
    ],
)
def test_what_cannot_be_trained_is_refused(train_net, command, tiny, capsys, opts, named):
    train = ["--train", "--train-data", str(tiny / "boxes.json"), str(tiny / "images")]
    opts = ["MODEL.WEIGHTS", "", "OUTPUT_DIR", str(tiny / "out"), *opts]
    line = refused(train_net, command(*train, engine="detectron2", opts=opts), tiny, capsys)
    assert named in line


def test_training_on_several_cpu_processes_is_refused(tiny, command, monkeypatch):
    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.detectron2 import Detectron2Engine
    from detectron2_patch.errors import InputError

    arguments = command(opts=["SOLVER.IMS_PER_BATCH", "2"])
    opts = arguments[arguments.index("MODEL.RESNETS.STEM_OUT_CHANNELS") :]
    engine = Detectron2Engine(load_cfg("configs/demo.yaml", opts), "cpu")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes .* needs GPUs"):
        engine.train(None, None, resume=False)


def test_the_zoos_weights_are_the_default(train_net, command, tiny, monkeypatch):
    """What the command would fetch for a short name alone."""
    asked = []

    def resolve(name):
        asked.append(name)
        return tiny / "weights.pth"

    monkeypatch.setattr("detectron2_patch.weights.resolve_weights", resolve)
    name = "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"
    arguments = command(engine="detectron2", opts=SMALL_HEADS)
    arguments[arguments.index("--config-file") + 1] = name
    start = arguments.index("MODEL.WEIGHTS")
    del arguments[start : start + 2]
    save_random_weights(name, arguments, tiny / "weights.pth")
    run(train_net, arguments)
    assert asked == [
        "detectron2://COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x/139173657/"
        "model_final_68b088.pkl"
    ]
