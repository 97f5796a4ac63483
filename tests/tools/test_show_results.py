import pytest


@pytest.fixture
def show_results(load):
    return load("show_results")


def test_prints_a_row_a_result(show_results, train_net, command, tiny, capsys):
    assert train_net.main(command("--cr", "1", "1", "1", "1", "4")) == 0
    capsys.readouterr()
    assert show_results.main([str(tiny / "results")]) == 0
    assert "| boxes     | rpn     | 1 1 1 1 4 |" in capsys.readouterr().out


def test_a_missing_folder_is_refused(show_results, tiny, capsys):
    assert show_results.main([str(tiny / "none")]) == 2
    assert "none" in capsys.readouterr().err
