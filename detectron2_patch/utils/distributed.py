"""Several processes that share one run, started by flags (``launch``) or by torchrun.

A process that was started alone is rank 0 of 1, and all of this does then what one process
would::

    with distributed.joined():
        mine = [detect(image) for image in distributed.share(images)]
        parts = distributed.gather(mine)  # rank 0: one list a rank, in order; others: None

Importing this is cheap: torch comes when there are several processes.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from detectron2_patch.errors import InputError
from detectron2_patch.utils.machine import usable_cores
from detectron2_patch.utils.process import Stopped

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
TIMEOUT = timedelta(minutes=30)  # detectron2's; a process that dies is noticed at once
AUTO = "auto"
SAID_WHY = 2  # exit status of a process that printed its error

_objects: Any = None  # the group that Python objects travel through: gloo, beside NCCL too


def is_worker() -> bool:
    """Whether torchrun or ``launch`` started this process, as one of possibly many."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def rank() -> int:
    """This process's number, from 0, over all machines."""
    return int(os.environ["RANK"]) if is_worker() else 0


def world_size() -> int:
    """How many processes there are on all machines."""
    return int(os.environ["WORLD_SIZE"]) if is_worker() else 1


def local_rank() -> int:
    """This process's number on its machine: the GPU it uses."""
    return int(os.environ.get("LOCAL_RANK", rank())) if is_worker() else 0


def local_world_size() -> int:
    """How many processes there are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size())) if is_worker() else 1


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's part of ``items``: consecutive, so that the parts in order are the whole."""
    size, larger = divmod(len(items), world_size())
    start = rank() * size + min(rank(), larger)
    return items[start : start + size + (rank() < larger)]


def share_left(items: Sequence[Item], done: Callable[[Item], bool]) -> Sequence[Item]:
    """This process's part of the ``items`` that aren't ``done``, where doing one changes that:
    all processes have looked before any goes on, so that the parts fit together.

    Raises:
        InputError: another process has died.
    """
    left = [one for one in items if not done(one)]
    barrier()
    return share(left)


def gather(value: Item) -> list[Item] | None:
    """Every process's ``value`` by rank, on rank 0; ``None`` on the others.

    Raises:
        InputError: another process has died.
    """
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    parts: list | None = [None] * world_size() if rank() == 0 else None
    with _alive():
        dist.gather_object(value, parts, group=_objects)
    return parts


def average(tensors: Sequence[Tensor]) -> None:
    """Give each tensor, of one shape in every process, the mean of all processes' values.

    Raises:
        InputError: another process has died.
    """
    if world_size() == 1:
        return
    import torch
    import torch.distributed as dist

    together = torch.cat([one.reshape(-1) for one in tensors])
    with _alive():
        dist.all_reduce(together)
    parts = (together / world_size()).split([one.numel() for one in tensors])
    torch._foreach_copy_(list(tensors), [p.view_as(t) for p, t in zip(parts, tensors)])


def barrier() -> None:
    """Wait until every process is here.

    Raises:
        InputError: another process has died.
    """
    if world_size() > 1:
        import torch.distributed as dist

        with _alive():
            dist.barrier(group=_objects)


@contextmanager
def joined(device: str | None = None) -> Iterator[None]:
    """Connect this process to the others until the block ends. Alone, it does nothing.

    Of several processes that fail alike, the first raises its ``InputError``; the others exit
    with its status in silence, so that a mistake is told once.

    Args:
        device: ``cpu`` for gloo alone; else NCCL where there are GPUs, one a process.

    Raises:
        InputError: the processes can't meet, or there are too few GPUs.
    """
    global _objects
    if world_size() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    gpus = device != "cpu" and torch.cuda.is_available()
    with _alive():
        store, *_ = next(iter(dist.rendezvous("env://", timeout=TIMEOUT)))
    try:
        if gpus:
            check_gpus(local_world_size())
            torch.cuda.set_device(local_rank())
        with _alive():
            dist.init_process_group(
                "nccl" if gpus else "gloo",
                store=dist.PrefixStore("group", store),
                rank=rank(),
                world_size=world_size(),
                timeout=TIMEOUT,
            )
            _objects = dist.new_group(backend="gloo", timeout=TIMEOUT) if gpus else None
        yield
    except InputError:
        if not _is_first_to_fail(store):
            sys.exit(SAID_WHY)
        raise
    finally:  # left for the interpreter's end, gloo's threads would abort the process
        _objects = store = None
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_first_to_fail(store) -> bool:
    try:
        return store.add("failed", 1) == 1
    except RuntimeError:  # the store went with the process that failed first
        return False


def check_gpus(processes: int) -> None:
    """Refuse more processes than this machine has GPUs."""
    import torch

    found = torch.cuda.device_count()
    if found < processes:
        raise InputError(
            f"{processes} processes need as many GPUs and this machine has {found}; ask for "
            "fewer, or add --device cpu for processes on the CPU"
        )


def launch(
    command: Sequence[str], processes: int, machines: int = 1, machine: int = 0, url: str = AUTO
) -> int:
    """Run ``command`` as ``processes`` processes here, as torchrun does; returns its exit status.

    When one fails the others are stopped.

    Args:
        machines, machine: how many machines run this, and which of them this one is.
        url: ``tcp://HOST:PORT`` of the first machine; ``auto`` takes a free port on a single one.

    Raises:
        InputError: numbers that don't fit, a bad address, or a process that died.
    """
    check_machines(machines, machine, url)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what failed is said below
    # Each process would take every core.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    meeting = (
        {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
        if url == AUTO
        else {
            "rdzv_backend": "static",
            "rdzv_endpoint": url.removeprefix("tcp://"),
            "rdzv_configs": {"rank": machine},
        }
    )
    config = LaunchConfig(
        min_nodes=machines,
        max_nodes=machines,
        nproc_per_node=processes,
        max_restarts=0,
        run_id=uuid.uuid4().hex if url == AUTO else "detectron2_patch",
        **meeting,
    )
    try:
        elastic_launch(config, sys.executable)(*command)
    except SignalException as error:
        raise Stopped(error.sigval) from error
    except ChildFailedError as error:
        status = {number: failure.exitcode for number, failure in error.failures.items()}
        # Those that were stopped because of the first count last; signals are negative.
        stopped = (-signal.SIGTERM, 128 + signal.SIGTERM)
        first = min(status, key=lambda number: (status[number] in stopped, status[number]))
        if status[first] == SAID_WHY:
            return SAID_WHY
        raise InputError(_obituary(first, machines * processes, status[first])) from error
    return 0


def _obituary(number: int, processes: int, status: int) -> str:
    """What to say of a process that died; a negative status is a signal (subprocess has it so)."""
    how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return (
        f"process {number} of {processes} ended {how}; the others were stopped and no result "
        "was written: see above what it said, check the machine's memory, and run it again"
    )


def check_machines(machines: int, machine: int, url: str) -> None:
    """Refuse machines, and the address that they meet at, that don't fit together.

    Raises:
        InputError: they don't.
    """
    if machines < 1 or not 0 <= machine < machines:
        raise InputError(
            f"--machine-rank {machine} of --num-machines {machines}: the ranks go from 0 to one "
            "less than the number of machines, which is at least 1"
        )
    if url == AUTO and machines > 1:
        raise InputError(
            f"--num-machines {machines} needs --dist-url tcp://HOST:PORT, the same on each, where "
            "HOST is the machine of rank 0"
        )
    if url != AUTO and not re.fullmatch(r"tcp://[^/:\s]+:\d{1,5}", url):
        raise InputError(f"--dist-url {url} is no address; give tcp://HOST:PORT, or auto")


@contextmanager
def _alive() -> Iterator[None]:
    """Turn torch's account of a lost process into one line."""
    try:
        yield
    except RuntimeError as error:  # DistError and gloo's errors are
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"process {rank()} of {world_size()} lost another one, so no result was written: see "
            f"above what that one said ({reason})"
        ) from error
