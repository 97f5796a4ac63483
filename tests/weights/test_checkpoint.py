import builtins
import collections
import itertools
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detectron2_patch.errors import InputError
from detectron2_patch.weights import read_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def read(folder, content):
    """What is read from a file of these bytes, or of the pickle of this object."""
    path = folder / "a.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return read_checkpoint(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.mark.parametrize(
    "wrap",
    [lambda s: s, lambda s: {"model": s, "iteration": 7, "optimizer": {"state": {0: {"step": 1}}}}],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(tmp_path, wrap, legacy):
    path = tmp_path / "a.pkl"  # the content counts and not the ending
    torch.save(wrap(STATE), path, _use_new_zipfile_serialization=not legacy)
    assert same(read_checkpoint(path), STATE)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_zoo_pickles(tmp_path, protocol):
    named = collections.OrderedDict((k, v.numpy()) for k, v in STATE.items())
    content = {"model": named, "__author__": "Detectron2 Model Zoo"}
    assert same(read(tmp_path, pickle.dumps(content, protocol)), STATE)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_pickles_of_numpy_1_and_2(tmp_path, core):
    content = pickle.dumps({k: v.numpy() for k, v in STATE.items()}, 2)
    content = content.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
    assert same(read(tmp_path, content), STATE)


def test_pickles_of_python_2(tmp_path):
    raw = np.float32([1.5, -2]).tobytes()
    content = (
        b"\x80\x02}U\x05blobs}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + raw + b"tbss."
    )
    assert same(read(tmp_path, content), {"conv1_w": torch.tensor([1.5, -2])})


NUMBERS = st.one_of(
    arrays.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    arrays.integer_dtypes(endianness="?"),
    arrays.boolean_dtypes(),
)


@given(
    array=arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_every_array_of_numbers_is_read_as_it_was(folder, array, protocol):
    read_back = read(folder, pickle.dumps({"w": array}, protocol))["w"].numpy()
    assert read_back.dtype == array.dtype.newbyteorder("=") and read_back.shape == array.shape
    assert read_back.tobytes() == array.astype(read_back.dtype).tobytes()  # NaN's bits too


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("axes", [*itertools.permutations(range(3))])
def test_axes_in_any_order_in_memory(tmp_path, protocol, axes):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(axes)
    content = pickle.dumps({"w": array, "v": array[::-1]}, protocol)
    wanted = {"w": torch.from_numpy(array.copy()), "v": torch.from_numpy(array[::-1].copy())}
    assert same(read(tmp_path, content), wanted)


def test_scalars_are_tensors_and_other_values_are_left_out(tmp_path):
    content = {
        "model": {
            "n": np.float32(2),
            "text": "x",
            "texts": np.array(["x"]),
            3: np.ones(1),
            "objects": np.array([None, 1]),
            "when": np.datetime64("2020-01-01"),
        }
    }
    assert same(read(tmp_path, content), {"n": torch.tensor(2.0)})


def test_the_wrapping_of_data_parallel_is_taken_off(tmp_path):
    content = {"model": {f"module.{k}": v.numpy() for k, v in STATE.items()}}
    assert same(read(tmp_path, content), STATE)


class Runs:
    """A pickle that calls something when it is loaded."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("hidden", [lambda x: x, lambda x: {"model": {"w": x}}])
def test_a_pickle_that_runs_code_does_not_run(tmp_path, monkeypatch, as_torch, hidden):
    monkeypatch.chdir(tmp_path)
    evil = hidden(Runs(os.system, "touch ran"))
    if as_torch:
        torch.save(evil, "a.pth")
    else:
        (tmp_path / "a.pth").write_bytes(pickle.dumps(evil))
    with pytest.raises(InputError, match=r"a\.pth .*\.system, which could run code") as refusal:
        read_checkpoint("a.pth")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "call", [getattr, eval, builtins.__import__, np.fromfile, np.load, print, subprocess.Popen]
)
def test_other_globals_are_refused_by_name(tmp_path, call):
    with pytest.raises(InputError, match=call.__name__):
        read(tmp_path, {"model": Runs(call, "x")})


@pytest.mark.parametrize(
    "module, name",
    [
        ("numpy.testing._private.utils", "runstring"),
        ("numpy", "dtype.__init__"),
        ("numpy._core.multiarray", "_reconstruct.__class__"),
        ("numpy", "ndarray.tofile"),
        ("collections", "OrderedDict.__reduce__"),
        ("_codecs", "decode"),
        ("numpy", "memmap"),
    ],
)
def test_no_dotted_name_leads_out_of_what_is_admitted(tmp_path, module, name):
    content = (
        b"\x80\x04"
        + b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
        + b"\x93."
    )
    with pytest.raises(InputError, match=f"{module}.{name}".replace(".", r"\.")):
        read(tmp_path, content)


def test_bytes_are_never_taken_for_objects(tmp_path):
    # NumPy itself would hold these eight bytes for the address of an object
    content = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08AAAAAAAAtbs."
    )
    with pytest.raises(InputError, match="no tensors"):
        read(tmp_path, content)


ARRAY = pickle.dumps({"model": {"w": np.ones(100, np.float32)}})


@pytest.mark.parametrize(
    "content, named",
    [
        (b"", "empty"),
        (b"  <!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "no checkpoint"),
        (b"\x89PNG\r\n", "no checkpoint"),
        (b"\x80\x05", "damaged"),
        (b"(text that begins as a pickle may", "damaged"),
        (b"PK\x03\x04 cut", "damaged"),
        (ARRAY.replace(b"Kd\x85", b"Ke\x85"), "damaged"),  # 101 numbers, the bytes of 100
        (pickle.dumps([1, 2]), "no tensors"),
        (pickle.dumps({}), "no tensors"),
        (pickle.dumps({"model": {"w": "text"}}), "no tensors"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content, named):
    with pytest.raises(InputError, match=f"a.pkl .*{named}") as refusal:
        read(tmp_path, content)
    assert "\n" not in str(refusal.value)


def saved(folder, legacy):
    torch.save(STATE, folder / "whole", _use_new_zipfile_serialization=not legacy)
    return (folder / "whole").read_bytes()


@given(data=st.data(), kind=st.sampled_from(["pickle", "zip", "legacy"]))
def test_every_truncated_file_is_refused_in_one_line(folder, data, kind):
    whole = ARRAY if kind == "pickle" else saved(folder, legacy=kind == "legacy")
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InputError, match="a.pkl") as refusal:
        read(folder, whole[:end])
    assert "\n" not in str(refusal.value)


@given(data=st.data())
def test_a_flipped_byte_is_read_or_refused(folder, data):
    content = bytearray(saved(folder, legacy=False))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        tensors = read(folder, bytes(content))
    except InputError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(InputError, match=path.name):
            read_checkpoint(path)
