import os
import subprocess
import sys
import textwrap
import time

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.utils import distributed

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


@pytest.fixture
def worker(tmp_path):
    """Make a script of ``body``, which runs in a process that has joined the others."""

    def make(body):
        path = tmp_path / "worker.py"
        path.write_text(
            "import os, signal, sys, time\n"
            "from detectron2_patch.utils import distributed\n"
            f"with distributed.joined('cpu'):\n{textwrap.indent(textwrap.dedent(body), '    ')}"
        )
        return path

    return make


def run_flags(script, processes=2, **options):
    """``launch`` in a process of its own, since it changes the environment."""
    arguments = ", ".join(
        [repr([str(script)]), str(processes), *(f"{k}={v!r}" for k, v in options.items())]
    )
    code = (
        "import sys\nfrom detectron2_patch import errors\n"
        "from detectron2_patch.utils import distributed\n"
        f"try:\n    sys.exit(distributed.launch({arguments}))\n"
        "except errors.InputError as error:\n    sys.exit(f'error: {error}')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=alone()
    )


def run_torchrun(script):
    return subprocess.run(
        [*TORCHRUN, "--standalone", str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env=alone(),
    )


def alone():
    return {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}


def test_one_process_is_rank_0_of_1():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.share([3, 1, 2]) == [3, 1, 2]
    assert distributed.gather("all") == ["all"]
    with distributed.joined():
        distributed.barrier()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9])
def test_shares_in_order_are_the_whole(monkeypatch, count):
    items, parts = list(range(count)), []
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(distributed.share(items))
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_what_is_left_is_shared_as_it_was_before_any_began(worker, tmp_path):
    """The second process looks when the first would long have made its files."""
    script = worker(f"""
        from pathlib import Path
        files = [Path({str(tmp_path)!r}) / str(number) for number in range(6)]
        if distributed.rank() == 1:
            time.sleep(1)
        for file in distributed.share_left(files, Path.exists):
            file.touch()
    """)
    assert run_flags(script).returncode == 0
    assert all((tmp_path / str(number)).exists() for number in range(6))


@pytest.mark.parametrize("start", [run_flags, run_torchrun])
def test_two_processes_gather_by_rank(worker, start):
    script = worker("""
        parts = distributed.gather([10 * item for item in distributed.share(range(5))])
        distributed.barrier()
        if distributed.rank() == 0:
            print(parts)
        else:
            assert parts is None
    """)
    done = start(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[0, 10, 20], [30, 40]]"


def test_two_machines_meet_at_an_address(worker, tmp_path):
    script = worker("print(distributed.gather(distributed.rank()))")
    url = f"tcp://localhost:{free_port()}"
    code = (
        "import sys; from detectron2_patch.utils import distributed; "
        f"distributed.launch([{str(script)!r}], 1, 2, int(sys.argv[1]), {url!r})"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(machine)],
            text=True,
            env=alone(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for machine in (1, 0)
    ]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [out.strip() for out, _ in outputs] == ["None", "[0, 1]"], outputs


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("waiting", ["distributed.gather(1)", "time.sleep(300)"])
def test_a_killed_process_ends_the_run(worker, waiting):
    script = worker(f"""
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        {waiting}
    """)
    start = time.monotonic()
    done = run_flags(script)
    assert time.monotonic() - start < 60
    assert done.returncode != 0
    assert "process 1 of 2 ended by signal SIGKILL" in done.stderr
    assert "no result was written" in done.stderr


def test_the_survivor_names_the_loss_where_nobody_watches(worker):
    """Started by hand, as a cluster's own launcher would: no agent stops the survivor."""
    script = worker("""
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            distributed.gather(1)
        except ValueError as error:
            sys.exit(str(error))
    """)
    port = str(free_port())
    both = [
        subprocess.Popen(
            [sys.executable, str(script)],
            text=True,
            stderr=subprocess.PIPE,
            env={
                **alone(),
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "localhost",
                "MASTER_PORT": port,
            },
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert both[0].returncode == 1
    assert "process 0 of 2 lost another one" in errors[0]


def test_a_mistake_is_told_once(worker):
    script = worker("""
        from detectron2_patch.errors import InputError
        raise InputError("the same in both")
    """)
    done = run_flags(script)
    assert done.stderr.count("InputError: the same in both") == 1
    assert "Traceback" in done.stderr  # a tool would make it one line


@pytest.mark.parametrize(
    "arguments, named",
    [
        (dict(machines=2), "--dist-url tcp"),
        (dict(machines=2, machine=2, url="tcp://h:1"), "--machine-rank 2"),
        (dict(machines=0), "--num-machines 0"),
        (dict(url="h:1"), "h:1"),
        (dict(url="file:///tmp/x"), "file:///tmp/x"),
    ],
)
def test_refuses_what_cannot_meet(arguments, named):
    with pytest.raises(InputError, match=named):
        distributed.launch(["x.py"], 2, **arguments)
