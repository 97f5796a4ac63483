"""The one grammar of all commands: flags, lists of words, results, overrides, and outputs."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.settings.registry import PYRAMID_FLAGS
from detectron2_patch.utils import process
from detectron2_patch.version import __version__

SETTING_FLAGS = (
    "--cr",
    "--send",
    "--restore",
    "--rank",
    "--bits",
    "--range",
    "--level-codec",
    "--pyramid",
    "--image",
    *PYRAMID_FLAGS,
)
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")  # DSC_1.JPG
OPTION = re.compile(r"--?(?!inf$|nan$)[A-Za-z]")  # -1, -inf and - are words, numbers or none
KEY = re.compile(r"[A-Z]\w*(\.\w+)+")  # of a configuration, P2..P5 is none
DASH = re.compile(r"(?=-*[‐-―−])[-‐-―−]+(?=[A-Za-z])")  # as pages set the dashes of flags
QUOTES = "“”„‟«»‘’"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, whose mistakes are ``InputError``s of one line.

    Args:
        moved: flags of earlier versions, and what stands in their place now.
    """

    def __init__(self, description: str | None, epilog: str | None = None, **moved: str) -> None:
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.overrides = False  # of the configuration, KEY VALUE at the end of the line
        self.moved = {f"--{name.replace('_', '-')}": now for name, now in moved.items()}
        self.add_argument("--version", action="version", version=f"detectron2_patch {__version__}")
        self.add_argument(
            "-q", "--quiet", action="store_true", help="say nothing on stderr but warnings"
        )

    def error(self, message: str) -> Any:
        """Refuse.

        Raises:
            InputError: always.
        """
        flag, _, words = message.removeprefix("argument ").partition(": ")
        if words.startswith("is "):  # of ``whole`` and ``number``
            message = f"{flag} {words}"
        elif words.startswith("ignored explicit argument "):
            message = f"{flag} takes no word, and got {words.rpartition(' argument ')[2]}"
        elif message.startswith("argument "):
            message = f"{flag}: {words}"
        raise InputError(" ".join(f"{message}; see --help".split()))

    def _print_message(self, message: str, file: Any = None) -> None:
        """As argparse has it, but that a stdout which takes nothing is told."""
        if message:
            (file or sys.stderr).write(message)

    def unknown(self, word: str) -> InputError:
        """What to say of a word that is no flag of this command."""
        flag = word.partition("=")[0]
        if flag in self.moved:
            return InputError(f"{flag} is no flag of this command; give {self.moved[flag]}")
        longer = [one for one in self.flags() if one.startswith(flag)]  # an abbreviation
        close = longer or difflib.get_close_matches(flag, self.flags(), n=1, cutoff=0.7)
        hint = f"did you mean {close[0]}? See" if close else "see"
        return InputError(f"{flag} is no flag of this command; {hint} --help")

    def flags(self) -> list[str]:
        """Every flag that the command has."""
        return list(self._option_string_actions)


def whole(least: int, such_as: str = "") -> Callable[[str], int]:
    """A type of argparse: a whole number from ``least`` on."""

    def parse(word: str) -> int:
        try:
            value = int(word) if re.fullmatch(r"[+-]?[0-9]{1,18}", word) else None
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(
                f"is {shown(word)}; give a whole number from {least} on{such_as}"
            )
        return value

    return parse


def number(least: float, most: float | None = None) -> Callable[[str], float]:
    """A type of argparse: a finite number from ``least`` on."""

    def parse(word: str) -> float:
        try:
            value = float(word) if word.isascii() and "_" not in word else float("nan")
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf") or (most is not None and value > most):
            to = "on" if most is None else f"to {most:g}"
            raise argparse.ArgumentTypeError(
                f"is {shown(word)}; give a finite number from {least:g} {to}"
            )
        return value

    return parse


def shown(word: str) -> str:
    """A word of the command line as a message has it."""
    return (
        word
        if word.isprintable() and word and " " not in word and len(word) < 80
        else ascii(word)[:100]
    )


def add_results(
    parser: argparse.ArgumentParser, help: str = "results: JSON, .json.gz, or folders of them"
) -> None:
    """The habit of every command that reads results: they are words, one or more."""
    parser.add_argument("results", nargs="+", metavar="RESULTS", help=help)


def add_tables(parser: argparse.ArgumentParser, what: str) -> None:
    """The flags of every command that prints a table."""
    parser.add_argument("--csv", metavar="FILE", help=f"write {what}, as CSV, too")
    parser.add_argument("--json", metavar="FILE", help=f"write {what}, as JSON, too")


def read_results(paths: Sequence[str]) -> list[dict]:
    """The results of all ``paths``, as ``load_results`` reads each.

    Raises:
        InputError: one can't be read, or is a folder without results.
    """
    from detectron2_patch.results.file import load_results, result_files

    found = []
    check_once(paths)
    for path in paths:
        empty = Path(path).is_dir() and not result_files(Path(path))
        results = [] if empty else load_results(path)
        if not results:
            raise InputError(
                f"no results in {path}; make some with tools/train_net.py or tools/sweep.py, or "
                "give their folder"
            )
        found += results
    return found


def check_once(paths: Sequence[str]) -> None:
    """Refuse results that are given twice, which would count twice.

    Raises:
        InputError: a name is empty, or a file is given by two of them.
    """
    from detectron2_patch.results.file import result_files

    given: dict[str, str] = {}
    for path in paths:
        if not path:
            raise InputError("a name of RESULTS is empty; give files or folders of results")
        files = result_files(Path(path)) if Path(path).is_dir() else [path]
        real = dict.fromkeys(map(os.path.realpath, files), path)
        for file in real.keys() & given.keys():
            raise InputError(f"{path} holds what {given[file]} gives already; give results once")
        given |= real


def add_overrides(parser: argparse.ArgumentParser, shown: bool = True) -> None:
    """Overrides of the configuration; see ``parse_args``.

    Args:
        shown: by ``--help`` as words of the line; not where RESULTS are.
    """
    if isinstance(parser, Parser):
        parser.overrides = True
    if shown:
        parser.add_argument(
            "opts",
            nargs="*",
            metavar="KEY VALUE",
            help="overrides of the configuration, last on the line",
        )


def join_words(
    argv: Sequence[str], flags: Sequence[str] = SETTING_FLAGS
) -> tuple[list[str], list[str]]:
    """The command line with ``--cr 1 1 1 1 4`` as one argument, and the overrides at its end.

    argparse would give every following word to ``--cr``. The words of one of ``flags`` end at the
    next option, ``-o`` as ``--output``, or at a configuration key (``VERSION``,
    ``MODEL.WEIGHTS``); any other word is taken for one of them, to be refused where it is none.
    """
    joined, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        flag, equals, first = word.partition("=")
        if flag in flags:
            words = [first] if equals else []
            while rest and not OPTION.match(rest[0]) and not is_config_key(rest[0]):
                words.append(rest.pop(0))
            word = f"{flag}={' '.join(words)}"
        elif is_config_key(word):  # overrides are the last on the line, whatever they hold
            return joined, [word, *rest]
        joined.append(word)
    return joined, []


def is_config_key(word: str) -> bool:
    """Whether a word of the command line starts the overrides: ``MODEL.WEIGHTS`` by its form, known
    or not, and a word without a dot where it is one of the configuration's own keys."""
    if not word.isupper() or word.lower().endswith(PICTURES):
        return False
    if "." in word:
        return KEY.fullmatch(word) is not None
    from detectron2_patch.config.defaults import default_values

    return word in default_values()


def parse_args(
    parser: argparse.ArgumentParser, line: Sequence[str], flags: Sequence[str] = SETTING_FLAGS
) -> argparse.Namespace:
    """The flags of a command line, the words of each of ``flags`` as one text, in ``opts`` the
    overrides at its end, and in ``typed`` the flag that stands for each destination.

    Raises:
        InputError: an unknown flag, one given twice, or words where none belong. (A parser that is
            no ``Parser`` exits.)
    """
    if isinstance(parser, Parser):
        return _parse(parser, line, flags)
    try:
        return _parse(parser, line, flags)
    except InputError as error:
        parser.error(str(error))


def _parse(
    parser: argparse.ArgumentParser, line: Sequence[str], flags: Sequence[str]
) -> argparse.Namespace:
    words, overrides = join_words([as_meant(word) for word in line], flags)
    known = parser._option_string_actions
    typed = _typed(parser, words, known)
    args, unknown = parser.parse_known_intermixed_args(words)
    takes = getattr(parser, "overrides", True)
    stray = [*(getattr(args, "opts", None) or ()), *(w for w in unknown if w != "--")]
    if stray:
        hint = "; overrides of the configuration are KEY VALUE in capitals, last on the line"
        raise InputError(f"{shown(stray[0])} belongs to no flag{hint * takes}; see --help")
    if overrides and not takes:
        raise InputError(
            f"{shown(overrides[0])} is an override of a configuration, and this command takes "
            "none; leave it out"
        )
    for word in overrides:
        if word.startswith("--"):
            flag = word.partition("=")[0]
            if flag in known:
                raise InputError(
                    f"{flag} stands behind the overrides of the configuration, which come last"
                )
            raise _unknown(parser, word)
    check_words(args, typed, flags)
    args.opts, args.typed = overrides, typed
    process.be_quiet(getattr(args, "quiet", False))
    return args


def as_meant(word: str) -> str:
    """A word of the command line with ``~/`` as the home folder, which a shell leaves as it is
    within quotes and behind ``=``.

    Raises:
        InputError: a dash or quotes as pages set them, that no file's name has.
    """
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    for part in filter(None, (flag, value)):
        dash = DASH.match(part)
        if dash and not os.path.exists(part):
            name = part[dash.end() :].partition("=")[0]
            typed = f"-{name}" if len(name) == 1 else f"--{name}"
            raise InputError(
                f"{shown(part)} begins with a dash as pages set it, not with the keyboard's; "
                f"type {typed}"
            )
        bare = part.strip("()[], ")
        if bare[:1] in QUOTES or bare[-1:] in QUOTES:
            if bare and not os.path.exists(part):
                raise InputError(
                    f"{shown(part)} has quotes as pages set them, which no shell takes; type ' or "
                    "none"
                )
    return flag + equals + os.path.expanduser(value) if value.startswith("~/") else word


def check_words(
    args: argparse.Namespace, typed: Mapping[str, str], flags: Sequence[str] = ()
) -> None:
    """Refuse empty words, and addresses where a file is to be given.

    Args:
        flags: those that take a list of words, which are looked at where they are parsed.

    Raises:
        InputError: there is one.
    """
    for name, value in vars(args).items():
        flag = typed.get(name, name)
        words = value if isinstance(value, list) else [value]
        if "" in words and flag not in flags and name != "results":
            raise InputError(
                f"{flag} {'is' if words == [''] else 'has a word that is'} empty; see --help"
            )
        for word in words:
            if name != "dist_url" and isinstance(word, str) and ADDRESS.match(word):
                raise InputError(
                    f"{flag} {shown(word)} is an address, and MODEL.WEIGHTS alone takes one; give "
                    "a name on this machine"
                )


def _typed(
    parser: argparse.ArgumentParser, words: Sequence[str], known: Mapping[str, Any]
) -> dict[str, str]:
    """Each flag's destination and how it was typed."""
    typed: dict[str, str] = {}
    for at, word in enumerate(words):
        if not OPTION.match(word):
            continue
        if "--" in words[:at]:
            raise InputError(f"{word.partition('=')[0]} stands behind --, which ends the flags")
        flag = word.partition("=")[0] if word.startswith("--") else word[:2]
        action = known.get(flag)
        if action is None:
            raise _unknown(parser, word if word.startswith("--") else flag)
        if action.dest in typed and not isinstance(action, argparse._AppendAction):
            raise InputError(f"{flag} is given twice; give it once")
        typed[action.dest] = flag
    return typed


def _unknown(parser: argparse.ArgumentParser, word: str) -> InputError:
    if isinstance(parser, Parser):
        return parser.unknown(word)
    return InputError(f"{word.partition('=')[0]} is no flag of this command; see --help")


def check_outputs(
    outputs: Mapping[str, str | os.PathLike | None],
    suffixes: Mapping[str, Sequence[str]],
    inputs: Sequence[str | os.PathLike] = (),
) -> None:
    """Make sure, before any work, that files can be written and are none that is read.

    Args:
        outputs: flag to the file it names, or None.
        suffixes: flag to how its file's name may end; a flag that isn't there takes any.
        inputs: files, and folders of results, that the command reads.

    Raises:
        InputError: a file that can't be written, of another kind, or one of the inputs.
    """
    inputs = [one for one in inputs if one]
    given = {flag: Path(name) if name else name for flag, name in outputs.items()}
    seen: dict[Path, str] = {}
    for flag, path in given.items():
        if path is None:
            continue
        if not isinstance(path, Path):
            raise InputError(f"{flag} is empty; give the file to write")
        ends = suffixes.get(flag, ())
        if ends and not path.name.lower().endswith(tuple(ends)):
            raise InputError(
                f"{flag} {shown(str(path))} doesn't end in {' or '.join(ends)}; name it so"
            )
        check_file(flag, path)
        real = Path(os.path.realpath(path))
        if real in seen:
            raise InputError(
                f"{flag} and {seen[real]} are both {path}; give each a file of its own"
            )
        seen[real] = flag
        for one in inputs:
            if is_input(path, Path(one)):
                raise InputError(
                    f"{flag} {path} is what is read, and would be overwritten; give another file"
                )


def check_file(flag: str, path: Path) -> None:
    """Refuse a file whose folder isn't there or can't be written."""
    from detectron2_patch.results.file import check_writable

    name = shown(str(path))
    try:
        if path.is_dir():
            raise InputError(f"{flag} {name} is a folder; give a file in it")
        if not path.parent.is_dir():
            raise InputError(
                f"{flag} {name}: there is no folder {shown(str(path.parent))}; make it first"
            )
        check_writable(path)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{flag} {name} can't be written: {reason}; give another file") from error


def is_input(path: Path, read: Path) -> bool:
    """Whether a file to write is one that is read, or a result in a folder that is read."""
    try:
        if not path.exists() or not read.exists():
            return False
        if path.samefile(read):
            return True
        inside = read.is_dir() and path.resolve().is_relative_to(read.resolve())
    except OSError:
        return False
    if not inside:
        return False
    from detectron2_patch.results.file import load_file

    try:
        return bool(load_file(path))
    except InputError:
        return False


def check_output_folder(flag: str, folder: str | os.PathLike, inputs: Sequence[str] = ()) -> None:
    """Refuse a folder that can't be written, or that is one of the inputs.

    It is made when it is missing; the folder that it lies in has to be there.
    """
    from detectron2_patch.results.file import check_folder

    check_folder(folder, flag)
    path = Path(folder)
    if not path.is_dir() and not path.absolute().parent.is_dir():
        raise InputError(
            f"{flag} {shown(str(folder))}: there is no folder {shown(str(path.parent))}; make it "
            "first"
        )
    for one in inputs:
        if os.path.exists(folder) and os.path.exists(one) and os.path.samefile(folder, one):
            raise InputError(f"{flag} {folder} is what is read; give another folder")


def write_table(rows: Sequence[Mapping[str, Any]], path: str | None) -> None:
    """Rows as CSV, where a file is asked for; an empty cell is None."""
    if path is None:
        return
    import csv
    import io

    from detectron2_patch.utils.files import atomic_write

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def write_json(document: Any, path: str | None, indent: int = 1) -> None:
    """A document as JSON, where a file is asked for; no number beyond a float's is in it."""
    if path is None:
        return
    import json

    from detectron2_patch.utils.files import atomic_write
    from detectron2_patch.utils.json_values import json_value

    with atomic_write(path) as file:
        file.write(
            (json.dumps(json_value(document), indent=indent, allow_nan=False) + "\n").encode(
                "ascii"
            )
        )
