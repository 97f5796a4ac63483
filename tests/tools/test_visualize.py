import json

import numpy as np
import pytest
from PIL import Image


def arguments(command, tiny, *images, more=()):
    given = command("--cr", "1", "1", "1", "1", "4", *more)
    start = given.index("--test-data")
    del given[start : start + 5]  # --test-data JSON IMAGES --results-dir DIR
    start = given.index("--engine")
    del given[start : start + 2]
    return ["--image", *map(str, images), "--output", str(tiny / "a.png"), *given]


def test_draws_any_image(visualize, command, tiny):
    assert visualize.main(arguments(command, tiny, tiny / "images" / "1.png")) == 0
    assert Image.open(tiny / "a.png").size == (512 + 8 + 512, 384 + 48)
    assert not (tiny / "a_maps.png").exists()


def test_an_image_that_is_not_there_is_refused(visualize, command, tiny, capsys):
    images = tiny / "images" / "1.png", tiny / "none.png"
    given = arguments(command, tiny, *images)
    given[given.index("--output") + 1] = str(tiny)
    assert visualize.main(given) == 2
    assert "none.png" in capsys.readouterr().err
    assert not list(tiny.glob("*.png"))


def test_several_images_of_every_kind(visualize, command, tiny):
    pixels = np.random.RandomState(0).randint(0, 256, (40, 60, 3), dtype=np.uint8)
    image, folder = Image.fromarray(pixels), tiny / "with space"
    folder.mkdir()
    image.convert("L").save(folder / "grey.jpg")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("1").save(folder / "bits.png")
    image.convert("RGBA").save(folder / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(folder / "turned.jpg", exif=exif)
    given = arguments(command, tiny, *sorted(folder.iterdir()), more=["--maps"])
    given[given.index("--output") + 1] = str(tiny / "pictures")
    assert visualize.main(given) == 0
    names = {path.name for path in (tiny / "pictures").iterdir()}
    assert {name for name in names if "_maps" not in name} == {
        "bits_comparison.png",
        "cmyk_comparison.png",
        "grey_3_comparison.png",
        "grey_4_comparison.png",
        "turned_comparison.png",
    }
    assert len(names) == 10
    with Image.open(tiny / "pictures" / "turned_comparison.png") as turned:
        assert turned.size == (341 * 2 + 8, 512 + 48)  # upright


def test_names_of_the_classes_come_from_a_json(visualize, command, tiny, capsys):
    given = arguments(
        command,
        tiny,
        tiny / "images" / "1.png",
        more=["--classes", str(tiny / "boxes.json"), "--threshold", "0"],
    )
    assert visualize.main(given) == 0
    document = json.loads((tiny / "boxes.json").read_text())
    document["categories"].pop()
    (tiny / "boxes.json").write_text(json.dumps(document))
    assert visualize.main(given) == 2
    assert "names 1 classes and the detector has 2" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_json_without_classes_is_refused(visualize, command, tiny, text, capsys):
    (tiny / "names.json").write_text(text)
    given = arguments(
        command, tiny, tiny / "images" / "1.png", more=["--classes", str(tiny / "names.json")]
    )
    assert visualize.main(given) == 2
    assert "names.json names no classes" in capsys.readouterr().err
