"""An image that isn't of the size that its JSON says: its boxes lie elsewhere, and AP would be
wrong without a word."""

import json

import pytest
from PIL import Image

from detectron2_patch.engines.choice import detectron2_problem

TRAIN = ["--train", "--train-data"]


@pytest.fixture(params=["torchvision", "detectron2"])
def engine(request):
    if request.param == "detectron2" and (problem := detectron2_problem()):
        pytest.skip(problem)
    return request.param


def resize(tiny, size):
    """Give the image that is read last another size."""
    with Image.open(tiny / "images" / "3.png") as image:
        image.resize(size).save(tiny / "images" / "3.png")


def refused(capsys, tiny):
    """The one line names the file, both sizes and what to do."""
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and str(tiny / "images" / "3.png") in error, error
    return error


def test_an_evaluation_refuses_it(train_net, command, tiny, engine, capsys):
    resize(tiny, (64, 47))
    assert train_net.main(command(engine=engine)) == 2
    error = refused(capsys, tiny)
    assert "64 x 47 pixels" in error and "64 x 48" in error and "correct the JSON" in error
    assert not (tiny / "results").exists()


def test_a_sweep_refuses_it_and_keeps_nothing_of_it(sweep, command, tiny, engine, capsys):
    resize(tiny, (48, 64))
    assert sweep.main(command("--grid", "1", "2", engine=engine)) == 2
    error = refused(capsys, tiny)
    assert "48 x 64 pixels" in error and "64 x 48" in error
    assert not list((tiny / "results").glob("*.json"))


def test_a_training_refuses_it(train_net, command, tiny, engine, capsys):
    train = [*TRAIN, str(tiny / "boxes.json"), str(tiny / "images")]
    opts = {
        "MODEL.WEIGHTS": "",
        "SOLVER.MAX_ITER": 6,
        "SOLVER.AMP.ENABLED": False,
        "SOLVER.IMS_PER_BATCH": 2,
        "OUTPUT_DIR": tiny / "out",
    }
    resize(tiny, (32, 24))
    words = [str(word) for pair in opts.items() for word in pair]
    assert train_net.main(command(*train, engine=engine, opts=words)) == 2
    error = refused(capsys, tiny)
    assert "32" in error and "24" in error and "64" in error and "48" in error


def test_a_photograph_counts_as_its_exif_turns_it(train_net, command, tiny, engine, capsys):
    """As detectron2 reckons: width and height are of the upright image."""
    document = json.loads((tiny / "boxes.json").read_text())
    (photo,) = (image for image in document["images"] if image["id"] == 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: stored 48 x 64, seen 64 x 48
    with Image.open(tiny / "images" / "3.png") as image:
        image.rotate(90, expand=True).save(tiny / "images" / "3.jpg", exif=exif)
    photo["file_name"] = "3.jpg"
    (tiny / "boxes.json").write_text(json.dumps(document))
    assert train_net.main(command(engine=engine)) == 0
    photo.update(width=48, height=64)
    (tiny / "boxes.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert train_net.main(command(engine=engine)) == 2
    assert "64 x 48 pixels, turned upright" in capsys.readouterr().err.splitlines()[-1]
