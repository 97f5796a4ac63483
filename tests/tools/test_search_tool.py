import csv
import json

import pytest

from detectron2_patch.results.file import load_results


@pytest.fixture
def search(load):
    return load("search")


@pytest.fixture
def searching(command):
    """Arguments as of ``command``, with the data as this command names it."""
    return lambda *more: ["--data" if word == "--test-data" else word for word in command(*more)]


def test_a_second_search_in_the_folder_goes_its_own_way(search, searching, tiny):
    """Other candidates, by another cost, with resamples of the best point."""
    for bits, more in (("3", []), ("8", ["--by", "elements", "--bootstrap", "20"])):
        (tiny / "candidates.txt").write_text(f"--bits {bits}\n")
        flags = [
            "--run",
            "--rounds",
            "3",
            "--candidates",
            str(tiny / "candidates.txt"),
            "--max-drop",
            "100",
            *more,
        ]
        assert search.main(searching(*flags)) == 0
    results = load_results(tiny / "results")
    with_resamples = [one for one in results if "bootstrap" in one]
    assert len(with_resamples) == 2, "the clean one and the best"
    fewest = min(sum(one["payload"]["sent"].values()) for one in results)  # of several settings
    assert fewest in [sum(one["payload"]["sent"].values()) for one in with_resamples]


def test_runs_what_is_missing_and_writes_the_front(search, searching, tiny, capsys):
    (tiny / "candidates.txt").write_text("--bits 3\n--bits 8\n")
    flags = [
        "--candidates",
        str(tiny / "candidates.txt"),
        "--max-drop",
        "100",
        "--csv",
        str(tiny / "points.csv"),
        "--json",
        str(tiny / "points.json"),
    ]
    assert search.main(searching("--run", "--rounds", "2", *flags)) == 0
    printed = capsys.readouterr().out
    results = load_results(tiny / "results")
    with open(tiny / "points.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results) > 1 + 1 + 4 * 3
    document = json.loads((tiny / "points.json").read_text())
    assert len(document["points"]) == len(rows)
    cheapest = min(document["points"], key=lambda point: point["bytes"])
    assert document["best"]["bytes"] == cheapest["bytes"], "any drop is allowed here"
    assert document["best"]["setting"] in printed
    # the same from disk, and the numbers are those of the results
    assert search.main([str(tiny / "results"), *flags[2:]]) == 0
    assert json.loads((tiny / "points.json").read_text()) == document
    by_bytes = {r["payload"]["total_bytes"] for r in results}
    assert {int(row["bytes"]) - int(row["side_bytes"]) for row in rows} == by_bytes


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--max-drop", "-1"], "--max-drop"),
        (["--max-drop-ap", "nan"], "--max-drop-ap"),
        (["--run", "--rounds", "0"], "--rounds"),
        (["--run", "--candidates", "nowhere"], "nowhere"),
        (["--run", "--restore", "fit"], "--fitted"),
        (["--max-drop", "inf"], "--max-drop"),
        (["--fitted", "nowhere.npz"], "--run"),
        (["--run", "--restore", "origin"], "origin"),
        (["--run", "--bootstrap", "0"], "--bootstrap"),
        (["--run", "--results-dir", "x"], "--results-dir is given twice"),
        (["nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_told_in_one_line(search, searching, tiny, capsys, flags, named):
    itself = any(word.startswith("nowhere") for word in flags)
    assert search.main(flags if itself else searching(*flags)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and named in error


def test_results_are_words_as_for_every_tool(search, capsys):
    """Before the flags or behind them: one answer; by ``--results-dir`` no more."""
    lines = [
        ["results/demo/methods.json.gz", "--max-drop", "1.4"],
        ["--max-drop", "1.4", "results/demo/methods.json.gz"],
    ]
    assert search.main(["--results-dir", "results/demo"]) == 2
    assert "search.py RESULTS" in capsys.readouterr().err
    printed = []
    for line in lines:
        assert search.main(line) == 0
        printed.append(capsys.readouterr().out)
    assert "smallest within 1.4 %" in printed[0] and len(set(printed)) == 1
    assert search.main(["results/demo/methods.json.gz", "results/bccd/methods.json.gz"]) == 2
    assert "2 models or datasets" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line, named",
    [
        (["results/demo", "SEED", "3"], "SEED"),
        (["--run", "results/demo"], "--results-dir"),
        (["results/demo", "--no-such-flag"], "--no-such-flag"),
    ],
)
def test_words_that_do_not_fit_are_refused(search, capsys, line, named):
    assert search.main(line) == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_another_models_results_are_refused_before_the_first_sweep(
    search, searching, tiny, capsys, monkeypatch
):
    from detectron2_patch.sweep import run as sweeping

    monkeypatch.setattr(sweeping, "run", lambda *_: pytest.fail("it swept"))
    other = load_results("results/demo/methods.json.gz")[0]
    (tiny / "results").mkdir()
    (tiny / "results" / "other.json").write_text(json.dumps(other))
    assert search.main(searching("--run")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert str(tiny / "results") in error and "demo_val" in error and "--results-dir" in error


def test_the_front_is_a_list_that_a_sweep_measures_elsewhere(
    search, load, command, searching, tiny
):
    """Chosen here, measured there: every setting of the list gets its result."""
    (tiny / "candidates.txt").write_text("--bits 3\n--bits 8\n")
    front = tiny / "front.txt"
    flags = ["--candidates", str(tiny / "candidates.txt"), "--max-drop", "100"]
    assert search.main(searching("--run", "--rounds", "1", *flags, "--list", str(front))) == 0
    lines = [line for line in front.read_text().splitlines() if not line.startswith("#")]
    there = command("--cr-list", str(front), "--scope", "pyramid")
    there[there.index("--results-dir") + 1] = str(tiny / "there")
    assert load("sweep").main(there) == 0
    assert len(load_results(tiny / "there")) == len(lines) > 0
