from PIL import Image


def arguments(command, tiny, image):
    given = command("--cr", "1", "1", "1", "1", "4")
    start = given.index("--test-data")
    del given[start:start + 5]  # --test-data JSON IMAGES --results-dir DIR
    start = given.index("--engine")
    del given[start:start + 2]
    return ["--image", str(image), "--output", str(tiny / "a.png"), *given]


def test_draws_any_image(visualize, command, tiny):
    assert visualize.main(arguments(command, tiny, tiny / "images" / "1.png")) == 0
    assert Image.open(tiny / "a.png").size == (512 + 8 + 512, 384 + 26)


def test_an_image_that_is_not_there_is_refused(visualize, command, tiny, capsys):
    assert visualize.main(arguments(command, tiny, tiny / "none.png")) == 2
    assert "none.png" in capsys.readouterr().err
    assert not (tiny / "a.png").exists()
