"""The commands that README, docs and results tell people to type, as lists of words."""

import re
import shlex
from pathlib import Path

PAGES = sorted(
    str(path)
    for path in [
        Path("README.md"),
        Path("CONTRIBUTING.md"),
        *Path("docs").glob("*.md"),
        *Path("results").rglob("README.md"),
    ]
)
STARTS = r"(?:[A-Z_]+=\S+ )?(?:python |pytest |pip |torchrun |git |scripts/|benchmarks/gpu\.sh)"
# What a reader puts in the place of a word.
BLANKS = {
    r"--cr-list front\.txt": "--cr-list lines.txt",
    r"--recipe mine\.yaml": "--recipe configs/codec/demo.yaml",
    r"--config-file FILE": "--config-file mine.yaml",
    r"MODEL\.WEIGHTS FILE": "MODEL.WEIGHTS model_final.pth",
    r"--train-data JSON IMAGES": "--train-data train.json train/",
    r"(--(?:test-)?data) JSON IMAGES": r"\1 val.json val/",
    r"export_weights\.py FILE": "export_weights.py model_final.pth",
    r"cost\.py results/demo/images\.json\.gz": "cost.py key_levels --images 1",
    r"--fitted FILE": "--fitted demo.npz",
    r"--results-dir FOLDER": "--results-dir new",
    r"\bFOLDER\b": "grid",
    r"\bHOST\b": "127.0.0.1",
    r" …": "",
}


def commands(page):
    """Those of its shell blocks, and those within its sentences, in their order."""
    text = Path(page).read_text(encoding="utf-8")
    text = re.sub(r"^```(?!sh)\S+\n.*?^```$", "", text, flags=re.M | re.S)
    found = []
    for block, inline in re.findall(r"^```sh\n(.*?)^```$|`([^`]+)`", text, re.M | re.S):
        inline = " ".join(inline.split())
        if block:
            found += block.replace("\\\n", " ").splitlines()
        elif re.match(STARTS, inline):
            found.append(inline)
    return list(_words(found))


def _words(lines):
    variables = {}
    for line in lines:
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        for blank, filled in BLANKS.items():
            line = re.sub(blank, filled, line)
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):  # a variable of the shell
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        if words and "|" not in words:  # pipes are tried in tests/tools/test_send_receive.py
            yield words
