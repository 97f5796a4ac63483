"""The README's lines for detectron2, as they stand, inside detectron2's own evaluation."""

import re
from pathlib import Path

import pytest

from detectron2_patch.patch import patch_pyramid


def test_the_patch_inside_detectron2s_own_evaluation(detectron2, tmp_path, scenes):
    from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
    from detectron2.data.datasets import register_coco_instances
    from detectron2.evaluation import COCOEvaluator, inference_on_dataset

    from detectron2_patch.demo import WEIGHTS
    from detectron2_patch.detectors import load_detector
    from detectron2_patch.pipeline import evaluate

    lines = re.findall(r"^```python\n(.*?)^```$", Path("README.md").read_text("utf-8"), re.M | re.S)
    detector = load_detector("configs/demo.yaml", WEIGHTS, engine="detectron2", device="cpu")
    name = "front_door_scenes"
    register_coco_instances(name, {}, str(scenes.json_file), str(scenes.image_root))
    try:
        names = {
            "model": detector.model,
            "loader": build_detection_test_loader(
                DatasetCatalog.get(name), mapper=detector.reader.mapper, num_workers=0
            ),
            "COCOEvaluator": lambda _: COCOEvaluator(
                name, ("bbox",), distributed=False, output_dir=str(tmp_path), use_fast_impl=False
            ),
            "inference_on_dataset": inference_on_dataset,
            "patch_pyramid": patch_pyramid,
        }
        found = {}
        line = lines[1].replace("    inference", "    found['results'] = inference")
        exec(compile(line, "README.md", "exec"), names | {"found": found})
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    words = re.search(r'patch_pyramid\(model, "(.*?)"', lines[1]).group(1)
    wanted = evaluate(detector, scenes, words).results["bbox"]
    got = found["results"]["bbox"]
    assert {key: got[key] for key in wanted} == pytest.approx(wanted, abs=1e-6)
