import json

import pytest

from detectron2_patch import load_results
from detectron2_patch.results.packing import write_packed


@pytest.fixture
def key_levels(load):
    return load("key_levels")


def test_from_a_sweep_to_the_table(sweep, key_levels, command, tiny, capsys):
    assert (
        sweep.main(command("--grid", "1", "max", "--scope", "rpn", "pyramid", "--bootstrap", "20"))
        == 0
    )
    packed, output = tiny / "packed.json.gz", tiny / "key.json"
    write_packed(load_results(tiny / "results"), packed)
    capsys.readouterr()
    assert key_levels.main([str(tiny / "results"), "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "20 resamples" in printed and "| scope pyramid " in printed
    analysis = json.loads(output.read_text())
    assert analysis["replicates"] == 20 and set(analysis["scopes"]) == {"rpn", "pyramid"}
    assert key_levels.main([str(packed)]) == 0
    assert capsys.readouterr().out == printed


def test_results_without_replicates_are_told(sweep, key_levels, command, tiny, capsys):
    assert sweep.main(command("--grid", "1", "max")) == 0
    capsys.readouterr()
    assert key_levels.main([str(tiny / "results")]) == 0
    printed = capsys.readouterr()
    assert "--bootstrap 1000 adds them" in printed.err and " to " not in printed.out


@pytest.mark.parametrize("content", [None, "{", "empty"])
def test_what_holds_no_combinations_is_refused(key_levels, tmp_path, capsys, content):
    path = tmp_path / "results"
    if content == "empty":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    assert key_levels.main([str(path), "-o", str(tmp_path / "key.json")]) == 2
    (line,) = (x for x in capsys.readouterr().err.splitlines() if x.startswith("error: "))
    assert not (tmp_path / "key.json").exists()
