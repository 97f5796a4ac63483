import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import codec_from_json, parse_codec
from detectron2_patch.settings.registry import IMAGE_CODECS


def parse(word):
    return parse_codec(IMAGE_CODECS, word)


@st.composite
def pictures(draw):
    cls = IMAGE_CODECS.get(draw(st.sampled_from(IMAGE_CODECS.names())))
    kind = st.integers if cls.whole else st.floats
    quality = kind(cls.lowest, cls.highest)
    if not cls.whole:
        quality = quality.map(lambda x: round(x, 3))
    if cls.has_lossless:
        quality |= st.just("lossless")
    quality = draw(quality)
    chroma = "" if quality == "lossless" else draw(st.sampled_from(("", *cls.chromas)))
    scale = draw(st.floats(0, 1, exclude_min=True).map(lambda x: max(round(x, 4), 1e-4)))
    return cls(quality, chroma, scale)


@given(pictures())
def test_a_word_is_read_as_the_codec_that_wrote_it(codec):
    assert parse(codec.word) == codec
    assert codec_from_json(IMAGE_CODECS, codec.to_json()) == codec
    assert hash(parse(codec.word)) == hash(codec)
    assert codec.family == codec.word.replace(
        codec.word[len(codec.name) :].split("/")[0].split("@")[0], "", 1
    )


@pytest.mark.parametrize(
    "word, same",
    [
        ("jxl:2.0", "jxl:2"),
        ("avif:50@1", "avif:50"),
        ("avif:50/420@.5", "avif:50@0.5"),
        ("jpeg:90/444", "jpeg:90/444"),
        ("hevc:032", "hevc:32"),
    ],
)
def test_one_spelling_is_kept(word, same):
    assert parse(word).word == same


@pytest.mark.parametrize(
    "word, label, family",
    [
        ("jpeg:75", "JPEG 75", "jpeg"),
        ("avif:50@0.5", "AVIF 50 at 0.5", "avif@0.5"),
        ("hevc:32/444@0.25", "HEVC 32 4:4:4 at 0.25", "hevc/444@0.25"),
        ("webp:lossless", "WebP lossless", "webp"),
        ("jxl:1.5", "JPEG XL 1.5", "jxl"),
    ],
)
def test_labels_and_families(word, label, family):
    assert (parse(word).label, parse(word).family) == (label, family)


@pytest.mark.parametrize(
    "word, says",
    [
        ("bmp:1", "'bmp' is no image codec; choose one of: jpeg, webp, avif, jxl, hevc, av1"),
        ("jpeg:101", "quality 101 of jpeg; give a whole number from 1 to 100"),
        ("jpeg:0", "from 1 to 100"),
        ("jpeg:7.5", "whole number"),
        ("jpeg:", "image codec jpeg got nothing; write jpeg:quality"),
        ("jpeg", "image codec jpeg got nothing"),
        ("jpeg:75/", "image codec jpeg got '75/'"),
        ("jpeg:75@", "image codec jpeg got"),
        ("jpeg:75@0.5/444", "image codec jpeg got"),
        ("jpeg:nan", "quality 'nan'"),
        ("jpeg:1e1", "quality '1e1'"),
        ("jpeg:lossless", "quality"),
        ("jpeg:75/422", "jpeg 75 with chroma '422'; it has 420 and 444"),
        ("webp:60/444", "it has 420"),
        ("webp:lossless/420", "no choice of it"),
        ("jxl:1/420", "no choice of it"),
        ("jxl:26", "distance 26 of jxl; give a number from 0 to 25"),
        ("avif:50@0", "scale 0 of avif; give one above 0 and up to 1"),
        ("avif:50@1.5", "scale 1.5"),
        ("hevc:52", "QP 52 of hevc; give a whole number from 0 to 51, or lossless"),
        ("av1:0", "CRF 0 of av1"),
        ("av1:40/444", "it has 420"),
        ("avif:50 60", "quality '50 60'"),
        ("avif:50@½", "scale '½'"),
    ],
)
def test_bad_words_are_refused_in_one_line(word, says):
    with pytest.raises(InputError) as error:
        parse(word)
    assert says in str(error.value) and "\n" not in str(error.value)
