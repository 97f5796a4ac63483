import http.server
import threading

import numpy as np
import pytest

from detectron2_patch.config import load_cfg
from detectron2_patch.rcnn.model import FasterRCNN
from detectron2_patch.weights import transfer

R50 = "configs/COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
SMALL = [
    "MODEL.RESNETS.STEM_OUT_CHANNELS",
    "4",
    "MODEL.RESNETS.RES2_OUT_CHANNELS",
    "8",
    "MODEL.RESNETS.WIDTH_PER_GROUP",
    "2",
    "MODEL.FPN.OUT_CHANNELS",
    "8",
    "MODEL.ROI_BOX_HEAD.FC_DIM",
    "8",
    "MODEL.ROI_HEADS.NUM_CLASSES",
    "3",
]


@pytest.fixture
def small_config():
    """A narrow R50-FPN: its file, and the overrides that make it narrow."""
    return R50, SMALL


@pytest.fixture
def small_model():
    """Makes narrow R50-FPN detectors, each with random weights of its own."""
    return lambda *opts: FasterRCNN(load_cfg(R50, [*SMALL, *opts]))


def backbone_blobs(norm="bn_s bn_b"):
    """Shapes of the narrow R50 as Caffe2 names them, with these parameters of each norm."""
    shapes = {"conv1_w": (4, 3, 7, 7), "conv1_b": (4,)}
    shapes.update({f"res_conv1_{p}": (4,) for p in norm.split()})
    channels = 4
    stages = zip((3, 4, 6, 3), (2, 4, 8, 16), (8, 16, 32, 64))
    for stage, (depth, width, out) in enumerate(stages, start=2):
        for number in range(depth):
            convs = {
                "branch2a": (width, channels, 1, 1),
                "branch2b": (width, width, 3, 3),
                "branch2c": (out, width, 1, 1),
            }
            if number == 0:
                convs["branch1"] = (out, channels, 1, 1)
            for branch, shape in convs.items():
                name = f"res{stage}_{number}_{branch}"
                shapes[f"{name}_w"] = shape
                shapes.update({f"{name}_{p}": shape[:1] for p in norm.split()})
            channels = out
    return shapes


def detector_blobs(masks=""):
    """Shapes of the whole narrow detector as Caffe2 names them; 3 classes. ``masks``: what its mask
    head's layers are called."""
    layers = {
        "conv_rpn_fpn2": (8, 8, 3, 3),
        "rpn_cls_logits_fpn2": (3, 8, 1, 1),
        "rpn_bbox_pred_fpn2": (12, 8, 1, 1),
        "fc6": (8, 8 * 49),
        "fc7": (8, 8),
        "cls_score": (4, 8),
        "bbox_pred": (16, 8),
    }
    for stage, last, channels in ((2, 2, 8), (3, 3, 16), (4, 5, 32), (5, 2, 64)):
        lateral = "" if stage == 5 else "_lateral"
        layers[f"fpn_inner_res{stage}_{last}_sum{lateral}"] = (8, channels, 1, 1)
        layers[f"fpn_res{stage}_{last}_sum"] = (8, 8, 3, 3)
    if masks:
        layers |= {f"{masks}_fcn{number}": (8, 8, 3, 3) for number in range(1, 3)}
        layers |= {"conv5_mask": (8, 8, 2, 2), "mask_fcn_logits": (4, 8, 1, 1)}
    return {
        **backbone_blobs(),
        **{f"{name}_w": shape for name, shape in layers.items()},
        **{f"{name}_b": shape[:1] for name, shape in layers.items()},
    }


@pytest.fixture
def caffe2_file():
    """Makes what Caffe2 saved: a backbone with a classifier, or a ``detector``."""

    def make(kind="folded"):
        norm = "bn_gamma bn_beta bn_running_mean bn_running_var"
        shapes = {
            "folded": backbone_blobs(),
            "statistics": backbone_blobs(norm),
            "detector": detector_blobs(),
            "masks": detector_blobs("_[mask]"),
            "masks, older": detector_blobs("_mask"),
        }[kind]
        shapes = {**shapes, "fc1000_w": (10, 64), "fc1000_b": (10,), "conv1_w_momentum": (4,)}
        rng = np.random.default_rng(0)
        blobs = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
        return {"cfg": "MODEL: {}", "blobs": blobs} if "bbox_pred_w" in blobs else blobs

    return make


class Handler(http.server.BaseHTTPRequestHandler):
    """A server with ranges and validators; each test sets what is peculiar about it."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        server.if_ranges.append(self.headers.get("If-Range"))
        if server.codes:
            code = server.codes.pop(0)
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/elsewhere.pkl")
            self.end_headers()
            return
        start = self.first_byte(wanted)
        if start is None:
            self.send_error(416)
            return
        body = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            end = len(server.body)
            self.send_header("Content-Range", f"bytes {start + server.off}-{end - 1}/{end}")
        for name, value in {
            "Content-Length": str(len(body)),
            "ETag": server.etag,
            "Last-Modified": server.date,
            "Content-Type": server.kind,
        }.items():
            if value and name != server.hidden:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def first_byte(self, wanted):
        server = self.server
        if wanted is None or not server.ranges:
            return 0
        validator = self.headers.get("If-Range")
        if server.if_range and validator is not None and validator != server.etag:
            return 0
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        return start if start < len(server.body) else None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A running server and a cache of its own; ``kept`` lists the cache, locks aside."""
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "theirs"))
    slept = []
    monkeypatch.setattr(transfer.time, "sleep", slept.append)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.if_ranges, server.codes, server.cuts = [], [], [], []
    server.body, server.etag, server.date, server.kind = bytes(range(256)) * 400, '"1"', "", ""
    server.ranges, server.if_range, server.off, server.hidden = True, True, 0, None
    server.slept = slept
    server.address = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.kept = lambda: {
        path.name
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }
    yield server
    server.shutdown()
    server.server_close()
