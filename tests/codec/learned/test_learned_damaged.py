"""A thousand altered streams of a learned codec: told in one line, or the very maps."""

import pytest
from mutations import check

from detectron2_patch.codec.transmission import receive_pyramid, send_pyramid
from detectron2_patch.errors import InputError
from detectron2_patch.settings.setting import Setting


def test_a_thousand_mutations(codec_path, maps):
    treatments = Setting.parse(["--codec", str(codec_path)]).by_level()
    size = (4 * maps["p2"].shape[1], 4 * maps["p2"].shape[2])
    data = send_pyramid(maps, treatments, size)
    other = send_pyramid({level: one.flip(1) for level, one in maps.items()}, treatments, size)
    known = {}

    def read(changed):
        """What isn't decoded by itself twice is slow: a digest stands for the maps."""
        if changed not in known:
            received = receive_pyramid(changed, treatments, size=size)
            known[changed] = {level: one.numpy().tobytes() for level, one in received.items()}
        return known[changed]

    assert read(data) != read(other)
    check(read, data, data[::-1], [read(data)])


def test_the_bytes_of_another_codec_are_refused(codec_path, maps):
    treatments = Setting.parse(["--codec", str(codec_path)]).by_level()
    size = (4 * maps["p2"].shape[1], 4 * maps["p2"].shape[2])
    data = send_pyramid({**maps, "p6": maps["p5"]}, {}, size)
    with pytest.raises(InputError):
        receive_pyramid(data, treatments, size=size)
