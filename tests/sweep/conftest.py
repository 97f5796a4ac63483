import pytest
from demo_engine import build


@pytest.fixture(scope="session", params=["torchvision", "detectron2"])
def each_engine(request):
    from detectron2_patch.engines.choice import detectron2_problem

    if request.param == "detectron2" and (problem := detectron2_problem()):
        pytest.skip(problem)
    return build(request.param)
