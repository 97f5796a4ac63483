"""What the commands that run a detector on a dataset share: flags, processes, set-up."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import errno
import logging
import re
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from grammar import (
    SETTING_FLAGS,
    Parser,
    add_overrides,
    add_results,
    is_config_key,
    join_words,
    parse_args,
    read_results,
    whole,
)

from detectron2_patch.engines.choice import AUTO, ENGINES
from detectron2_patch.errors import InputError
from detectron2_patch.settings.halves import WHOLE
from detectron2_patch.settings.registry import IMAGE_CODECS, PYRAMID_CODECS, PYRAMID_FLAGS
from detectron2_patch.utils import distributed, process

__all__ = [
    "SETTING_FLAGS",
    "Parser",
    "add_overrides",
    "add_results",
    "is_config_key",
    "join_words",
    "parse_args",
    "read_results",
]
ROOT = Path(__file__).resolve().parent.parent
DEMO_CONFIG = ROOT / "configs" / "demo.yaml"
SHIPPED = ROOT / "results"
RUNS = "runs"  # where one's own results go
COCO_HINT = (
    "no --config-file: running the demo. For COCO, set DETECTRON2_DATASETS to the folder that "
    "holds coco/ and see the last example of --help"
)
GOES_ON = "what is finished is kept: the same command goes on"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
logger = logging.getLogger(__name__)


def add_setting_flags(parser: argparse.ArgumentParser) -> None:
    """What is sent and how the rest is restored, beside ``--cr``; see ``parsing.parse_setting``."""
    add = parser.add_argument
    add("--send", metavar="LEVEL", help="the levels that are sent, such as p3 p5 (all)")
    add(
        "--restore",
        metavar="HOW",
        help="how levels that aren't sent are made: nearest (default), finer, coarser, mix:WF,WC, "
        "fit, origin[:p3|:p5|:W3,W5], and LEVEL=HOW for one of them",
    )
    add(
        "--rank",
        metavar="K",
        help="principal components kept of a level's channels, max for all, "
        "or a share of their variance such as 0.99; one for all sent levels, or five with '-'",
    )
    add(
        "--bits",
        metavar="B",
        help="bits of an element, 1 to 8; one for all sent levels, or five with '-' (float32)",
    )
    add(
        "--range",
        metavar="R",
        help="of the quantisation: level (default) or channel, measured on "
        "each image, fitted-level or fitted-channel",
    )
    add(
        "--level-codec",
        metavar="CODEC",
        help="name:arguments of a registered codec of a level; one for all sent levels, or five "
        "with '-'",
    )
    add(
        "--pyramid",
        metavar="CODEC",
        help=f"name:arguments of a codec of all levels at once ({_names(PYRAMID_CODECS)})",
    )
    for flag, name in PYRAMID_FLAGS.items():
        add(flag, metavar="WORD", help=f"short for --pyramid {name}:WORD")
    add(
        "--fitted",
        metavar="FILE",
        help="principal components, ranges and restorers of this detector, made by tools/fit.py",
    )


def add_image_flag(parser: argparse.ArgumentParser) -> None:
    """The image coded instead of the maps."""
    parser.add_argument(
        "--image",
        metavar="CODEC",
        help="send the image, coded, instead of the maps, such as jpeg:75; the whole detector "
        f"runs on what was decoded ({_names(IMAGE_CODECS)})",
    )


def _names(registry) -> str:
    return ", ".join(registry.names()) or "none is registered"


def read_setting(args: argparse.Namespace, fitted):
    """The setting that the flags ask for. Without ``--scope``, what codes all at once is received
    by both heads, and everything else by the RPN alone, as the origin had it."""
    from detectron2_patch.settings.parsing import parse_setting
    from detectron2_patch.settings.setting import PYRAMID, RPN, Setting
    from detectron2_patch.settings.words import all_flags, arguments_of, split_words

    given = {
        flag: [text] if flag == "--codec" and text else split_words(flag, [text])
        for flag in all_flags()
        if (text := getattr(args, flag[2:].replace("-", "_"), None)) is not None
    }
    if given.get("--restore") == []:
        raise InputError("--restore got no word; give one or more, see --help")
    arguments = arguments_of(given)
    rank_of = None if fitted is None else fitted.rank_of
    levels = find_levels(args)
    try:
        treatments = parse_setting(**arguments, rank_of=rank_of, levels=levels)  # type: ignore[arg-type]
    except InputError as error:  # names the flag that was typed
        short = next((flag for flag in PYRAMID_FLAGS if flag in given), "--pyramid")
        raise InputError(str(error).replace("--pyramid", short)) from error
    need_fitted(treatments.values(), fitted)
    together = "image" in arguments or "pyramid" in arguments
    scope = args.scope or (PYRAMID if together or has_no_rpn(args) else RPN)
    setting = Setting.of(treatments, scope, "" if fitted is None else fitted.sha256, levels)
    check_used(args, [setting])
    for one in set(setting.treatments):
        getattr(one, "check", lambda: None)()
    return setting


def has_no_rpn(args: argparse.Namespace) -> bool:
    """Whether the detector has one kind of head, so that scope ``pyramid`` is all there is."""
    from detectron2_patch.config.levels import is_dense

    return is_dense(_read_config(args))


def _read_config(args: argparse.Namespace):
    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.imports import import_modules
    from detectron2_patch.engines.zoo import find_config

    import_modules(getattr(args, "imports", ()))
    file = find_config(args.config_file) if args.config_file else DEMO_CONFIG
    return load_cfg(file, args.opts)


def find_levels(args: argparse.Namespace) -> tuple[str, ...]:
    """The levels of the detector that the flags ask for, before it is built."""
    from detectron2_patch.config.levels import levels_of

    given = getattr(args, "levels", None)
    return levels_of(_read_config(args), given and given.split())


def open_fitted(args: argparse.Namespace):
    """The fitted parts of ``--fitted``; ``None`` where it isn't given."""
    if args.fitted is None:
        return None
    from detectron2_patch.codec.fitted import read_fitted

    return read_fitted(args.fitted)


def need_fitted(treatments, fitted) -> None:
    """Make sure that there are fitted parts where one of ``treatments`` uses them."""
    if fitted is None and any(one.uses_fit for one in treatments):
        raise InputError(
            "a fitted range or restorer is asked for and there is no --fitted FILE; "
            "tools/fit.py makes one"
        )


def check_used(args: argparse.Namespace, settings: Sequence) -> None:
    """Refuse flags that none of the settings uses."""
    if args.fitted is not None and not any(one.uses_fit for one in settings):
        raise InputError(
            f"--fitted {args.fitted} is given and nothing uses it: --rank, --restore fit and "
            "--range fitted-… do; give one of these, or leave it out"
        )
    if getattr(args, "restore", None) is not None and not any(
        None in one.ratios for one in settings
    ):
        raise InputError(
            f"--restore {args.restore} says how levels that aren't sent are made, and all are "
            "sent; leave it out, or name what is sent with --send"
        )


def check_fitted(treatments, fitted, cfg, weights: Path | str, dataset=None) -> None:
    """Make sure that what ``treatments`` use, fitted parts and learned codecs, was made for this
    detector, and not from images of ``dataset``, where AP is measured.

    ``weights`` are a file or, as text, the SHA-256 of one."""
    from detectron2_patch.codec.fitted import map_config
    from detectron2_patch.utils.files import sha256

    made = [one for one in set(treatments) if hasattr(one, "check_detector")]
    if any(one.uses_fit for one in treatments):
        made.append(fitted)
    if not made:
        return
    digests = weights if isinstance(weights, str) else sha256(weights), map_config(cfg)
    paths = [] if dataset is None else [dataset.image_path(image) for image in dataset.images]
    for one in made:
        one.check_detector(*digests)
        one.check_images(paths)


def add_detector_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that runs a detector; see ``add_overrides``, too."""
    add = parser.add_argument
    add(
        "--config-file",
        metavar="FILE",
        help="detectron2 YAML, or the zoo's short name where detectron2 is installed; left out: "
        "the demo",
    )
    add(
        "--engine",
        choices=ENGINES,
        default=AUTO,
        help="auto (default): the installed detectron2 where it works, else the built-in one on "
        "torchvision",
    )
    add(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours that registers parts with detectron2; its add_config(cfg), or "
        "add_…_config, adds keys; may be given again",
    )
    add_levels(parser)
    add("--device", help="cpu, cuda, cuda:1 …; left out: a GPU where there is one")


def add_levels(parser: argparse.ArgumentParser) -> None:
    """The flag that names a detector's levels."""
    parser.add_argument(
        "--levels",
        metavar="LEVELS",
        help="what the levels are that the heads read, in one word with spaces such as 'p2 p3 p4', "
        "where their names don't tell",
    )


def add_model_flags(parser: argparse.ArgumentParser, data: str = "--test-data") -> None:
    """The flags of every command that runs a detector on a dataset; see ``add_overrides``, too.

    Args:
        data: the flag of what is evaluated, ``--data`` where there is no other.
    """
    add_detector_flags(parser)
    parser.add_argument(
        data,
        dest="test_data",
        nargs=2,
        metavar=("JSON", "IMAGES"),
        help="evaluate on this COCO-format JSON and image folder instead of DATASETS.TEST",
    )
    if data != "--test-data":
        add_older(parser, "--test-data", "test_data", nargs=2)


def add_older(parser: argparse.ArgumentParser, flag: str, dest: str, **options: Any) -> None:
    """A flag's name of earlier versions: taken as ever, and not in ``--help``."""
    parser.add_argument(flag, dest=dest, help=argparse.SUPPRESS, **options)


def add_process_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that several processes may share; see ``start``."""
    add = parser.add_argument
    add(
        "--num-gpus",
        type=whole(0),
        metavar="N",
        help="processes on this machine, one a GPU, or on the CPU with --device cpu; 0 is one "
        "process with --device cpu; left out: one process",
    )
    add("--num-machines", type=whole(1), default=1, metavar="N", help="how many machines run this")
    add(
        "--machine-rank",
        type=whole(0),
        default=0,
        metavar="I",
        help="which of them this is, from 0",
    )
    add(
        "--dist-url",
        default=distributed.AUTO,
        metavar="URL",
        help="tcp://HOST:PORT of machine 0; auto (default) finds a port on a single machine",
    )


def add_common_flags(parser: argparse.ArgumentParser, data: str = "--test-data") -> None:
    """The flags of every command that evaluates a detector on a dataset; see ``add_overrides``."""
    add = parser.add_argument
    add(
        "--resume",
        action="store_true",
        help="continue the training in OUTPUT_DIR; evaluating, take its last checkpoint",
    )
    add_process_flags(parser)
    add("-o", "--results-dir", default=RUNS, metavar="DIR", help=f"where the JSON goes ({RUNS})")
    add_model_flags(parser, data)


def start(
    build: Callable[[], argparse.ArgumentParser],
    run: Callable[[argparse.Namespace], None],
    script: str,
    argv: Sequence[str] | None,
    flags: Sequence[str] = SETTING_FLAGS,
    kept: str = "",
    check: Callable[[argparse.Namespace], None] = lambda args: None,
) -> int:
    """Read a command line and do what it says here, or in as many processes as it asks for.

    Args:
        script: the command's file, which the processes run.
        argv, flags: as for ``command``.
        kept: as for ``told``.
        check: refuses, before any process is started, what is wrong.

    Returns:
        The exit status: 2 for a mistake, which is told in one line; see ``told``.
    """
    line = sys.argv[1:] if argv is None else argv

    def work() -> int | None:
        args = parse_args(build(), line, flags)
        check(args)
        if needs_launch(args):
            return distributed.launch(
                [script, *line],
                args.num_gpus or 1,
                args.num_machines,
                args.machine_rank,
                args.dist_url,
            )
        with distributed.joined(wanted_device(args)):
            return run(args)

    return told(work, kept)


def command(
    build: Callable[[], argparse.ArgumentParser],
    work: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None,
    flags: Sequence[str] = (),
    kept: str = "",
) -> int:
    """Read a command line and do what it says; returns the exit status. See ``told``.

    Args:
        argv: the words behind the command's name; None: this process's.
        flags: those that take a list of words.
        kept: as for ``told``.
    """
    line = sys.argv[1:] if argv is None else argv
    return told(lambda: work(parse_args(build(), line, flags)), kept)


def told(work: Callable[[], int | None], kept: str = "") -> int:
    """The exit status of ``work()``, 0 where it gives none, 2 for a mistake, told in one line, and
    128 and its number for a signal.

    What is logged meanwhile goes to stderr, of rank 0 all, of the others what is a warning. A
    reader of stdout that has seen enough, such as ``head``, ends the command in silence.

    Args:
        kept: what to say of a run that was stopped.
    """
    logging.basicConfig(stream=sys.stderr, format="%(message)s", force=True)
    logging.getLogger().setLevel(logging.INFO if distributed.rank() == 0 else logging.WARNING)
    logging.getLogger("torch").setLevel(logging.WARNING)  # its caches' statistics, at the end
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_wanted)
    warnings.formatwarning = lambda message, *_, **__: f"{' '.join(str(message).split())}\n"
    try:
        with process.stoppable():
            try:
                status = work() or 0
            except SystemExit as end:  # --help and --version; a process of several that failed
                status = end.code if isinstance(end.code, int) else 0
            sys.stdout.flush()
            return status
    except InputError as error:
        tell(f"error: {error}")
        return 2
    except KeyboardInterrupt as error:
        number = signal.Signals(getattr(error, "number", signal.SIGINT))
        if not distributed.is_worker():  # its launcher says it
            tell(f"interrupted by {number.name}; {kept or 'no file is half written'}")
        return 128 + number
    except process.Unwritten as error:
        process.drop_stdout()
        if error.errno == errno.EPIPE:
            return 128 + signal.SIGPIPE
        tell(f"error: cannot write to stdout: {error.strerror}; give it a place that takes it all")
        return 2
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        where = f" {error.filename}" if error.filename else ""
        tell(f"error: cannot write{where}: {error.strerror}; make space, or give another folder")
        return 2


def _is_wanted(record: logging.LogRecord) -> bool:
    """Whether a line is said under ``-q``."""
    return record.levelno >= logging.WARNING or not process.is_quiet()


def tell(line: str) -> None:
    """A line on stderr, whatever it holds and wherever that goes."""
    line = re.sub(r"(\S{400})\S{100,}", r"\1…", line)
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    with suppress(OSError):
        print("".join(shown), file=sys.stderr)


def needs_launch(args: argparse.Namespace) -> bool:
    """Whether the flags ask for more processes than this one.

    Raises:
        InputError: a number that makes no sense, or another than torchrun started.
    """
    count = args.num_gpus
    if distributed.is_worker():
        if count not in (None, distributed.local_world_size()):
            raise InputError(
                f"--num-gpus is {count} and torchrun started {distributed.local_world_size()} "
                "processes here; leave --num-gpus out"
            )
        return False
    several = (count or 1) > 1 or args.num_machines != 1 or args.machine_rank != 0
    if several:
        distributed.check_machines(args.num_machines, args.machine_rank, args.dist_url)
    if several and wanted_device(args) != "cpu":
        distributed.check_gpus(count or 1)
    return several


def wanted_device(args: argparse.Namespace) -> str | None:
    """What the flags say of the device; ``None``: nothing."""
    return args.device or ("cpu" if args.num_gpus == 0 else None)


def prepare(args: argparse.Namespace, training: bool = False) -> tuple:
    """The configuration, the engine with its model, and the dataset to evaluate, all checked, and
    that results can be written."""
    from detectron2_patch.results.file import check_folder

    check_folder(args.results_dir, args.typed.get("results_dir", "--results-dir"))
    return prepare_model(args, training)


def prepare_model(args: argparse.Namespace, training: bool = False) -> tuple:
    """The configuration, the engine with its model, and the dataset to evaluate, all checked."""
    import torch

    from detectron2_patch.data.catalog import open_dataset

    name, cfg, device = open_config(args, training)
    dataset = open_dataset(args.test_data, cfg.DATASETS.TEST, "DATASETS.TEST")
    check_classes(dataset, cfg)
    if cfg.SEED >= 0:
        torch.manual_seed(cfg.SEED)  # the initial weights of a training
    return cfg, build_detector(args, name, cfg, device), dataset


def build_detector(args: argparse.Namespace, name: str, cfg, device: str, part: str = WHOLE):
    """The engine with its model, or a part of it.

    Raises:
        InputError: it can't be built, or has other levels than ``--levels`` says.
    """
    from detectron2_patch.engines.choice import build_engine
    from detectron2_patch.settings.levels import span

    engine = build_engine(name, cfg, device, part)
    given = getattr(args, "levels", None)
    if given is not None and tuple(given.split()) != engine.levels:
        raise InputError(
            f"--levels is {given!r}, and the detector has {span(engine.levels)}; give those"
        )
    return engine


def check_classes(dataset, cfg) -> None:
    """Refuse a dataset whose number of classes isn't the configured one."""
    from detectron2_patch.config.levels import class_count, class_key
    from detectron2_patch.data.coco import check_class_count

    check_class_count(dataset, class_count(cfg), class_key(cfg))


def open_config(args: argparse.Namespace, training: bool = False) -> tuple[str, Any, str]:
    """The engine's name, the configuration, which it honours, and the device."""
    if args.config_file is None:
        logger.info(COCO_HINT)

    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.choice import check_config, choose_engine
    from detectron2_patch.engines.imports import import_modules
    from detectron2_patch.engines.zoo import find_config

    import_modules(getattr(args, "imports", ()))
    config_file = find_config(args.config_file) if args.config_file else DEMO_CONFIG
    cfg = load_cfg(config_file, args.opts)
    name, why = choose_engine(args.engine, cfg)
    logger.info("engine %s: %s", name, why)
    check_config(name, cfg, training=training)
    return name, cfg, choose_device(args, cfg)


def choose_device(args: argparse.Namespace, cfg) -> str:
    """The device that the flags or ``MODEL.DEVICE`` ask for, a GPU where there is one."""
    from detectron2_patch.engines import choice

    wanted = wanted_device(args)
    named = wanted or cfg.MODEL.DEVICE
    if named.startswith("cuda:") and distributed.world_size() > 1:
        raise InputError(
            f"device {named!r} is one GPU for {distributed.world_size()} processes; name cuda, "
            "and each takes its own"
        )
    return choice.choose_device(wanted, cfg)


def find_weights(args: argparse.Namespace, cfg, begin: bool = False) -> Path:
    """The checkpoint to evaluate: the last of OUTPUT_DIR, ``MODEL.WEIGHTS``, or the demo's; or,
    where it is what a training is to ``begin`` with, one of the last two.

    A configuration of the zoo starts its training from a backbone; what was trained by it is
    the zoo's file for it, so that is taken where the command names no other.
    """
    from detectron2_patch.engines.zoo import find_config, zoo_weights
    from detectron2_patch.training.checkpoints import last_path
    from detectron2_patch.weights import resolve_weights

    if getattr(args, "resume", False) and not begin:
        return last_path(Path(cfg.OUTPUT_DIR))
    trained = zoo_weights(find_config(args.config_file)) if args.config_file else None
    if trained is not None and "MODEL.WEIGHTS" not in args.opts[::2]:
        return resolve_weights(trained)
    if cfg.MODEL.WEIGHTS.startswith("detectron2://ImageNetPretrained/"):
        raise InputError(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} is a backbone, which starts a training; to "
            f"evaluate, give a trained detector (see {args.config_file})"
        )
    if not cfg.MODEL.WEIGHTS and "MODEL.WEIGHTS" in args.opts[::2]:
        raise InputError("MODEL.WEIGHTS is empty; give a checkpoint file, or leave the key out")
    if cfg.MODEL.WEIGHTS:
        return resolve_weights(cfg.MODEL.WEIGHTS)
    if args.config_file is None:
        from detectron2_patch.demo import WEIGHTS

        return WEIGHTS
    raise InputError(
        f"{args.config_file} has no MODEL.WEIGHTS; add 'MODEL.WEIGHTS FILE' at the end of the line"
    )


def describer(
    args: Mapping[str, Any], cfg, engine, dataset, weights: Path, weights_sha256: str | None = None
) -> Callable[..., dict]:
    """What makes a result from setting, results, payload and seconds.

    ``weights_sha256`` is of the whole checkpoint, where ``weights`` is a part of it."""
    from detectron2_patch.config import result_relevant
    from detectron2_patch.results.schema import make_result
    from detectron2_patch.utils.files import sha256
    from detectron2_patch.utils.json_values import digest
    from detectron2_patch.utils.versions import collect_versions

    return partial(
        make_result,
        args={name: value for name, value in args.items() if name not in ("typed", "quiet")},
        dataset=dataset,
        weights_path=weights,
        weights_sha256=weights_sha256 or sha256(weights),
        config_digest=digest(result_relevant(cfg)),
        config_file=args["config_file"] or DEMO_CONFIG,
        engine=engine.name,
        versions=collect_versions(str(engine.model.device), engine=engine.name),
    )
