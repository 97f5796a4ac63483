import json
import re
import shlex
import subprocess
import sys
import time

import pytest
import torch
from every_tool import RECIPE

from detectron2_patch import load_results
from detectron2_patch.results.packing import write_packed
from detectron2_patch.settings.setting import Setting


@pytest.mark.parametrize("packed", [False, True])
def test_says_what_the_clean_pyramid_had(train_net, command, tiny, capsys, packed):
    assert train_net.main(command("--cr", "1", "1", "1", "1", "1")) == 0
    assert "against the clean pyramid" not in capsys.readouterr().out
    if packed:
        (clean,) = (tiny / "results").iterdir()
        write_packed(load_results(clean), tiny / "results" / "old" / "a.json.gz")
        clean.unlink()
    assert train_net.main(command("--cr", "1", "1", "1", "1", "4")) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("against the clean pyramid: AP ") and "APs " in last


def test_writes_a_result_and_prints_a_table(train_net, command, tiny, capsys):
    assert train_net.main(command("--cr", "1", "1", "1", "1", "4", "--scope", "pyramid")) == 0
    (file,) = (tiny / "results").iterdir()
    (result,) = load_results(file)
    assert result["setting"] == {
        "cr": {"p2": 1, "p3": 1, "p4": 1, "p5": 1, "p6": 4},
        "scope": "pyramid",
    }
    assert result["args"]["cr"] == ["1", "1", "1", "1", "4"]
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AP-seven", "AP-nine"} == set(
        result["results"]["bbox"]
    )
    assert result["results"]["bbox"]["APl"] is None  # no large object: NaN is null
    payload = result["payload"]
    assert payload["wire"] is True
    # 48x64 images at 64x85, padded to 64x96: P2 is 16x24, P6 1x2 and 1x1 at ratio 4
    assert payload["full"]["p2"] == payload["sent"]["p2"] == 3 * 8 * 16 * 24
    assert (payload["full"]["p6"], payload["sent"]["p6"]) == (3 * 8 * 2, 3 * 8)
    assert result["engine"] == "torchvision" and result["dataset"]["name"] == "boxes"
    out = capsys.readouterr().out
    assert "APs" in out and "seven" in out
    assert "bytes an image" in out and "times fewer" in out
    assert "no clean result in " in out
    line = shlex.split(out.splitlines()[-1])
    assert line[:2] == ["python", "tools/train_net.py"] and train_net.main(line[2:]) == 0
    assert sum(Setting.from_json(r["setting"]).is_clean for r in load_results(file.parent)) == 1


def test_says_what_was_sent(train_net, command, tiny, capsys):
    assert train_net.main(command("--bits", "4", "--scope", "pyramid")) == 0
    (result,) = load_results(tiny / "results")
    (said,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("sent: "))
    words = re.findall(r"[\d.,]+(?= bytes| bits| times)", said)
    nbytes, pixel, fewer = (float(word.replace(",", "")) for word in words)
    of_all = result["payload"]["total_bytes"]
    raw = 4 * 8 * (16 * 24 + 8 * 12 + 4 * 6 + 2 * 3)  # P2 to P5 of an image, 8 channels in fp32
    assert nbytes == round(of_all / 3)
    assert pixel == pytest.approx(of_all * 8 / (3 * 48 * 64), rel=0.01)
    assert fewer == pytest.approx(3 * raw / of_all, abs=0.06) and fewer > 4
    assert said.endswith(" than P2 to P5 in fp32")
    assert train_net.main(command("--scope", "rpn", "--bits", "4")) == 0
    assert "sent: everything (in scope rpn" in capsys.readouterr().out


def test_both_spellings_are_one_setting_under_one_name(train_net, command, tiny):
    assert train_net.main(command("--cr", "1", "1", "1", "1", "4")) == 0
    before = {p.name: json.loads(p.read_text()) for p in (tiny / "results").iterdir()}
    assert train_net.main(command("--cr", "1", "1", "1", "1", "1", "4.0")) == 0
    after = {p.name: json.loads(p.read_text()) for p in (tiny / "results").iterdir()}
    assert set(before) == set(after) and len(after) == 1
    for name in before:
        assert before[name]["results"] == after[name]["results"]
        assert before[name]["setting"] == after[name]["setting"]
        assert after[name]["payload"]["wire"] is False


def test_different_evaluations_never_share_a_name(train_net, command, tiny):
    for arguments in (
        command(),
        command("--scope", "pyramid"),
        command("--cr", "1", "1", "1", "1", "max"),
        command(opts=["MODEL.RPN.NMS_THRESH", "0.6"]),
    ):
        assert train_net.main(arguments) == 0
    torch.save(
        {k: v * 1.5 for k, v in torch.load(tiny / "weights.pth")["model"].items()},
        tiny / "weights.pth",
    )
    assert train_net.main(command()) == 0
    assert len(list((tiny / "results").iterdir())) == 5


def test_ratios_stand_anywhere_on_the_line(train_net, command):
    parser = train_net.build_parser()
    import grammar

    plain = grammar.parse_args(
        parser, ["--scope", "pyramid", "--cr", "1", "1", "1", "1", "4", "SEED", "1"]
    )
    assert plain.cr == "1 1 1 1 4" and plain.opts == ["SEED", "1"]
    first = grammar.parse_args(
        parser, ["--cr", "1", "1", "max", "1", "4", "--eval-only", "MODEL.WEIGHTS", "x.pth"]
    )
    assert first.cr == "1 1 max 1 4" and first.opts == ["MODEL.WEIGHTS", "x.pth"]


@pytest.mark.parametrize(
    "ratios, named",
    [
        ("", "0 ratios"),
        ("1 1 1 1", "4 ratios"),
        ("1 1 1 1 1 1 1", "7 ratios"),
        ("2 1 1 1 1 1", "'2'"),
        ("0 1 1 1 1", "'0'"),
        ("1 -1 1 1 1", "'-1'"),
        ("1 .5 1 1 1", "'.5'"),
        ("1 nan 1 1 1", "'nan'"),
        ("1 inf 1 1 1", "'inf'"),
        ("1 one 1 1 1", "'one'"),
        ("1 NaN 1 1 1", "'NaN'"),
        ("1 -inf 1 1 1", "'-inf'"),
    ],
)
def test_bad_ratios_are_refused(train_net, command, tiny, capsys, ratios, named):
    assert train_net.main(command("--cr", *ratios.split())) == 2
    refused(capsys, tiny, named)


def refused(capsys, tiny, named):
    """One line on stderr that names the value; nothing written."""
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1 and named in lines[0]
    assert not (tiny / "results").exists()


def break_data(tiny, what):
    """Damage the tiny dataset; returns what the refusal has to name."""
    json_file = tiny / "boxes.json"
    document = json.loads(json_file.read_text())
    if what == "no json":
        json_file.unlink()
    elif what == "bad json":
        json_file.write_text('{"images": [')
    elif what == "no images":
        json_file.write_text(json.dumps({**document, "images": [], "annotations": []}))
    elif what == "image missing":
        (tiny / "images" / "2.png").unlink()
        return "2.png"
    elif what == "image corrupt":
        (tiny / "images" / "2.png").write_bytes(b"not an image")
        return "2.png"
    elif what == "one class":
        for annotation in document["annotations"]:
            annotation["category_id"] = 9
        json_file.write_text(json.dumps({**document, "categories": document["categories"][1:]}))
        return "NUM_CLASSES"
    elif what == "no folder":
        (tiny / "images").rename(tiny / "moved")
        return "images"
    return "boxes"


@pytest.mark.parametrize(
    "what",
    [
        "no json",
        "bad json",
        "no images",
        "image missing",
        "image corrupt",
        "one class",
        "no folder",
    ],
)
def test_bad_data_is_refused(train_net, command, tiny, capsys, what):
    named = break_data(tiny, what)
    assert train_net.main(command()) == 2
    refused(capsys, tiny, named)


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", "half", "wider"])
def test_bad_weights_are_refused(train_net, command, tiny, capsys, content):
    path = tiny / "weights.pth"
    opts, named = [], "weights.pth"
    if content is None:
        path.unlink()
    elif content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content == "wider":
        opts, named = ["MODEL.ROI_BOX_HEAD.FC_DIM", "16"], "roi_heads.box_head.fc1"
    else:
        path.write_bytes(content)
    assert train_net.main(command(opts=opts)) == 2
    refused(capsys, tiny, named)


@pytest.mark.parametrize(
    "opts, named",
    [
        (["MODEL.RPN.NMS_TRESH", "0.5"], "NMS_TRESH"),
        (["MODEL.KEYPOINT_ON", "True"], "KEYPOINT_ON"),
        (["MODEL.RESNETS.DEPTH", "fifty"], "DEPTH"),
        (["MODEL.RESNETS.DEPTH"], "DEPTH"),
        (["TEST.AUG.ENABLED", "True"], "TEST.AUG"),
        (["MODEL.WEIGHTS", ""], "MODEL.WEIGHTS"),
        (["DATASETS.TEST", "('coco_2017_vall',)"], None),
    ],
)
def test_bad_configurations_are_refused(train_net, command, tiny, capsys, opts, named):
    arguments = command(opts=opts)
    if named is None:  # the flag wins over DATASETS.TEST: leave it out
        start = arguments.index("--test-data")
        del arguments[start : start + 3]
        named = "coco_2017_vall"
    assert train_net.main(arguments) == 2
    refused(capsys, tiny, named)


def test_a_device_that_is_not_there_is_refused(train_net, command, tiny, capsys):
    arguments = command()
    arguments[arguments.index("cpu")] = "cuda:77"
    assert train_net.main(arguments) == 2
    refused(capsys, tiny, "cuda:77")


def test_a_results_folder_that_cannot_be_written_is_refused(train_net, command, tiny, capsys):
    (tiny / "results").write_text("a file, not a folder")
    assert train_net.main(command()) == 2
    assert "results" in capsys.readouterr().err
    assert (tiny / "results").read_text() == "a file, not a folder"


def test_trains_then_evaluates_and_resumes(train_net, command, tiny, capsys):
    train = ["--train", "--train-data", str(tiny / "boxes.json"), str(tiny / "images")]
    opts = [
        "MODEL.WEIGHTS",
        "",
        "SOLVER.MAX_ITER",
        "2",
        "SOLVER.IMS_PER_BATCH",
        "2",
        "OUTPUT_DIR",
        str(tiny / "out"),
    ]
    assert train_net.main(command(*train, opts=opts)) == 0
    assert len(load_results(tiny / "results")) == 1
    assert train_net.main(command("--resume", "--eval-only", opts=opts)) == 0
    assert len(load_results(tiny / "results")) == 1  # the same weights, so the same name


def test_trains_with_the_damaged_pyramid(train_net, command, tiny):
    train = [
        "--train",
        "--train-data",
        str(tiny / "boxes.json"),
        str(tiny / "images"),
        "--cr",
        "4",
        "4",
        "4",
        "4",
        "2",
        "--scope",
        "pyramid",
    ]
    weights = []
    for more in ([], ["--train-damaged"]):
        folder = tiny / f"out{len(more)}"
        opts = [
            "MODEL.WEIGHTS",
            "",
            "SOLVER.MAX_ITER",
            "2",
            "SOLVER.IMS_PER_BATCH",
            "2",
            "SOLVER.BASE_LR",
            "0.1",
            "SOLVER.WARMUP_ITERS",
            "0",
            "OUTPUT_DIR",
            str(folder),
        ]
        assert train_net.main(command(*train, *more, opts=opts)) == 0
        # finished: nothing is left to train, and nothing to damage
        assert train_net.main(command(*train, *more, "--resume", opts=opts)) == 0
        state = torch.load(folder / "model_final.pth", weights_only=True)["model"]
        weights.append(state["roi_heads.box_head.fc1.weight"])
    assert torch.isfinite(weights[1]).all() and not torch.equal(*weights)


@pytest.mark.parametrize("engine", ["torchvision", "detectron2"])
def test_the_heads_alone_learn_on_decoded_maps(
    load, train_net, command, tiny, tiny_opts, train_data, engine
):
    """The backbone stays, norms and all, so that a codec of its maps still serves."""
    if engine == "detectron2":
        pytest.importorskip("detectron2", reason="needs real detectron2")
    (tiny / "recipe.yaml").write_text(RECIPE)
    opts = ["MODEL.FPN.NORM", "BN"]  # whose statistics a training moves
    document = json.loads((tiny / "train.json").read_text())
    box = {"category_id": 7, "iscrowd": 0, "bbox": [5, 5, 30, 30], "area": 900}
    document["annotations"] = [{**box, "id": n + 1, "image_id": n} for n in range(5)]
    (tiny / "train.json").write_text(json.dumps(document))
    words = ["-o", tiny / "codecs", "--recipe", tiny / "recipe.yaml", "--data", *train_data]
    weights = weights_with_norms(tiny, [*tiny_opts, *opts])
    line = command(*map(str, words), opts=[*opts, "MODEL.WEIGHTS", weights])
    start = line.index("--results-dir")
    del line[start : start + 2]
    assert load("train_codec").main(line) == 0
    codec = ["--codec", str(tiny / "codecs" / "codec_1.safetensors"), "--scope", "pyramid"]
    more = ["--train", "--train-heads", "--train-damaged", "--train-data", *train_data, *codec]
    opts += ["MODEL.WEIGHTS", str(tiny / "norms.pth"), "OUTPUT_DIR", str(tiny / "heads")]
    opts += ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "0"]
    opts += ["SOLVER.AMP.ENABLED", "False"]
    assert train_net.main(command(*more, engine=engine, opts=opts)) == 0
    before = torch.load(tiny / "norms.pth", weights_only=True)["model"]
    after = torch.load(tiny / "heads" / "model_final.pth", weights_only=True)["model"]
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and not any(name.startswith("backbone") for name in changed)
    assert "roi_heads.box_head.fc1.weight" in changed
    (result,) = load_results(tiny / "results")
    assert result["setting"]["pyramid"]["codec"] == "learned"


def weights_with_norms(tiny, opts):
    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.choice import build_engine

    torch.manual_seed(0)
    engine = build_engine("torchvision", load_cfg("configs/demo.yaml", opts), "cpu")
    torch.save({"model": engine.model.state_dict()}, tiny / "norms.pth")
    return str(tiny / "norms.pth")


def test_heads_alone_need_a_training(train_net, command, tiny, capsys):
    assert train_net.main(command("--train-heads")) == 2
    refused(capsys, tiny, "--train-heads")


def test_damage_of_a_training_needs_one(train_net, command, tiny, capsys):
    assert train_net.main(command("--train-damaged")) == 2
    refused(capsys, tiny, "--train-damaged")


def test_help_takes_less_than_a_second():
    command = [sys.executable, "tools/train_net.py", "--help"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert "--cr" in done.stdout
    assert min(seconds) < 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and there is none here")
def test_gpu_gives_the_cpus_numbers(train_net, command, tiny):
    assert train_net.main(command("--cr", "1", "2", "4", "2", "1")) == 0
    (cpu,) = load_results(tiny / "results")
    arguments = command("--cr", "1", "2", "4", "2", "1")
    arguments[arguments.index("cpu")] = "cuda"
    assert train_net.main(arguments) == 0
    (gpu,) = load_results(tiny / "results")
    assert gpu["results"]["bbox"]["AP"] == pytest.approx(cpu["results"]["bbox"]["AP"], abs=0.1)


def test_every_key_of_the_configuration_ends_the_words_of_a_flag(train_net):
    """Also those that stand on no section: none is listed by hand."""
    import grammar

    from detectron2_patch.config import get_cfg

    keys = [key for key, value in get_cfg().items() if not hasattr(value, "items")]
    assert "FLOAT32_PRECISION" in keys
    for key in [*keys, "MODEL.WEIGHTS", "MODEL.NO_SUCH_KEY"]:
        line = ["--cr", "1", "1", "1", "1", "4", key, "x"]
        args = grammar.parse_args(train_net.build_parser(), line)
        assert args.cr == "1 1 1 1 4" and args.opts == [key, "x"]
