"""Every command on one detector, from the first evaluation to bitstreams and a learned codec."""

import json

import yaml

from detectron2_patch.results.file import load_results
from detectron2_patch.settings.levels import wire_levels

RECIPE = """
widths: [4, 4, 4]
depth: 1
groups: [1, 2]
stride: 16
finest: p2
context_width: 4
lambdas: [1.0]
noisy_lambda: 1.0
noisy_iterations: 2
noisy_learning_rate: 0.01
warmup: 1
iterations: 2
learning_rate: 0.01
batch_size: 1
crop: 128
clip: 1.0
ema: 0.9
dead_zone: 0.0
mixed: false
mirror: false
squared_error: 1.0
objectness: 1.0
anchors: 1.0
classes: 1.0
boxes: 1.0
heads_from: 1
proposals: 4
held_out: 1
watch_every: 2
"""


class EveryTool:
    """The commands on one detector.

    Args:
        load: makes a tool's module of its name.
        folder: where everything is and goes, with ``boxes.json``, ``images`` and ``train``.
        levels: the detector's.
        model, opts: the words that name it: before the overrides, and the overrides.
        train_data: JSON and images of a training.
    """

    def __init__(self, load, folder, levels, model, opts, train_data, capsys):
        self.load, self.folder, self.levels = load, folder, tuple(levels)
        self.model, self.opts, self.train_data, self.capsys = model, opts, train_data, capsys

    def flags(self, folder="results"):
        """``--test-data``, the model, where results go (None: nowhere), the overrides."""
        data = ["--test-data", self.folder / "boxes.json", self.folder / "images"]
        results = [] if folder is None else ["--results-dir", self.folder / folder]
        return [*self.model, *data, *results, *self.opts]

    def call(self, name, *words):
        """What a command says on stdout; it has to end well."""
        self.capsys.readouterr()
        status = self.load(name).main([str(word) for word in words])
        said = self.capsys.readouterr()
        assert status == 0, (name, said.err)
        return said.out

    def refused(self, name, *words):
        """The one line that a command ends in."""
        self.capsys.readouterr()
        assert self.load(name).main([str(word) for word in words]) == 2
        return self.capsys.readouterr().err.splitlines()[-1]

    def run(self):
        """All of it."""
        self.evaluate()
        self.sweep_and_read()
        self.fit()
        self.train_a_codec()
        self.measure()
        self.draw()
        for words in ("--bits 5", "--fitted FIT --rank 2 --bits 4", "--codec CODEC"):
            self.send_and_receive(*words.split())

    def evaluate(self):
        first, last = self.levels[0].upper(), self.levels[-1].upper()
        line = self.refused("train_net", "--cr", "2", "1", *self.flags())
        assert f"{first} to {last}" in line
        self.call("train_net", "--cr", *["2"] * len(self.levels), *self.scope(), *self.flags())

    @staticmethod
    def scope():
        return "--scope", "pyramid"

    def sweep_and_read(self):
        levels, grid = self.levels, self.folder / "grid"
        self.call(
            "sweep", "--grid", "1", "max", *self.scope(), "--bootstrap", 20, *self.flags(grid)
        )
        assert len(load_results(grid)) == 2 ** len(levels)
        keys = self.folder / "keys.json"
        self.call("key_levels", grid, "-o", keys)
        assert set(json.loads(keys.read_text())["scopes"]["pyramid"]["AP"]) == set(levels)
        lines = self.folder / "list.txt"
        lines.write_text(f"--bits 4\n--send {levels[0]} {levels[2]} --bits 3\n--image jpeg:50\n")
        self.call("sweep", "--cr-list", lines, *self.scope(), *self.flags(grid))
        self.call("report", grid, keys, "-o", self.folder / "report")
        assert list((self.folder / "report").glob("*.html"))
        wire = wire_levels(levels)
        said = self.call("search", grid, "--max-drop", 99)
        assert f"than {wire[0].upper()} to {wire[-1].upper()} in fp32" in said
        self.call("rd", grid, "--anchor", "none")

    def fit(self):
        """Fitted parts, and the setting that needs all kinds of them, one pass and one by one."""
        data = ["--data", *self.train_data]
        test = self.flags(None)
        fitted = self.folder / "fitted.npz"
        send = ["--send", self.levels[1]]  # all subsets of 256 channels take minutes
        self.call("fit", "-o", fitted, *data, *send, "--images", 2, *test)
        words = f"--send {self.levels[1]} --restore fit --rank 3 --bits 4 --range fitted-level"
        self.same_in_a_sweep(["--fitted", fitted], words)

    def same_in_a_sweep(self, more, words, name="fit"):
        """A setting by ``sweep`` and by ``train_net``: equal results and payload."""
        lines = self.folder / f"{name}.txt"
        lines.write_text(words)
        swept, alone = self.folder / name, self.folder / f"{name}_alone"
        self.call("sweep", "--cr-list", lines, *self.scope(), *more, *self.flags(swept))
        self.call("train_net", *words.split(), *self.scope(), *more, *self.flags(alone))
        found = {json.dumps(one["setting"], sort_keys=True): one for one in load_results(swept)}
        (one,) = load_results(alone)
        for key in ("results", "payload"):
            assert found[json.dumps(one["setting"], sort_keys=True)][key] == one[key]

    def train_a_codec(self):
        """A learned codec of this detector, and coded frames."""
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(yaml.safe_load(RECIPE)))
        codecs = self.folder / "codecs"
        data = ["--recipe", recipe, "--data", *self.train_data]
        self.call("train_codec", "-o", codecs, *data, *self.flags(None))
        self.codec = codecs / "codec_1.safetensors"
        self.same_in_a_sweep([], f"--codec {self.codec}", "learned")
        self.same_in_a_sweep([], "--frames hevc:40", "frames")
        (one,) = load_results(self.folder / "learned_alone")
        wire = wire_levels(self.levels)
        assert [x for x, r in one["setting"]["cr"].items() if r is not None] == list(wire)

    def measure(self):
        """What both sides work."""
        results = [self.folder / name for name in ("learned_alone", "frames_alone", "fit_alone")]
        given = ["--codec", self.codec, "--fitted", self.folder / "fitted.npz", "--images", 1]
        output = self.folder / "costs.json"
        said = self.call("cost", *results, "-o", output, *given, *self.flags(None))
        assert said.count("learned") == 1 and said.count("frames") == 1

    def draw(self):
        """A picture of the maps and what is lost."""
        image = next((self.folder / "images").iterdir())
        output = self.folder / "drawn.png"
        where = ["--image", image, "-o", output, "--maps"]
        self.call("visualize", *where, *self.model, *self.opts)
        assert output.exists() and (self.folder / "drawn_maps.png").exists()
        self.call("visualize", *where, "--codec", self.codec, *self.model, *self.opts)

    def send_and_receive(self, *words):
        """What train_net finds, from the bitstreams alone."""
        named = {"CODEC": self.codec, "FIT": self.folder / "fitted.npz"}
        words = [named.get(word, word) for word in words]
        name = words[0].strip("-")
        whole, halves, sent = (self.folder / f"{name}_{n}" for n in ("whole", "halves", "sent"))
        self.call("train_net", *words, *self.scope(), *self.flags(whole))
        self.call("send", sent, *words, *self.flags(None))
        line = self.flags(halves)
        start = line.index("--test-data")
        line[start : start + 3] = ["--annotations", self.folder / "boxes.json"]
        own = [word for word in words if word in ("--codec", "--fitted")]
        given = [part for word in own for part in (word, words[words.index(word) + 1])]
        self.call("receive", sent, *given, *line)
        (one,), (other,) = load_results(whole), load_results(halves)
        for key in ("setting", "results", "payload"):
            assert one[key] == other[key], key


def annotate(tiny, engine):
    """Objects where the detector finds some, so that it has an AP to lose."""
    document = json.loads((tiny / "boxes.json").read_text())
    document["annotations"] = []
    for image in document["images"]:
        found = engine.detect(engine.read(tiny / "images" / image["file_name"]))
        for (x0, y0, x1, y1), kind in zip(found["boxes"][:3].tolist(), found["classes"]):
            one = {"image_id": image["id"], "category_id": (7, 9)[kind], "iscrowd": 0}
            one |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
            document["annotations"].append({**one, "id": len(document["annotations"]) + 1})
    (tiny / "boxes.json").write_text(json.dumps(document))
