import pytest
import torch
from torch import nn

from detectron2_patch.config import load_cfg
from detectron2_patch.training import solver

SCHEDULES = {
    "steps": ["SOLVER.STEPS", "(60, 80)", "SOLVER.WARMUP_ITERS", "10"],
    "late step": ["SOLVER.STEPS", "(60, 200)", "SOLVER.GAMMA", "0.5"],
    "no warm-up": ["SOLVER.STEPS", "(50,)", "SOLVER.WARMUP_ITERS", "0"],
    "constant warm-up": [
        "SOLVER.STEPS",
        "(50,)",
        "SOLVER.WARMUP_METHOD",
        "constant",
        "SOLVER.WARMUP_ITERS",
        "20",
    ],
    "cosine": ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.WARMUP_ITERS", "10"],
    "cosine to an end": [
        "SOLVER.LR_SCHEDULER_NAME",
        "WarmupCosineLR",
        "SOLVER.BASE_LR_END",
        "0.005",
        "SOLVER.BASE_LR",
        "0.02",
        "SOLVER.RESCALE_INTERVAL",
        "True",
        "SOLVER.WARMUP_ITERS",
        "10",
    ],
}


def config(opts):
    return load_cfg(None, ["SOLVER.MAX_ITER", "100", *opts])


def test_warms_up_and_steps_down():
    cfg = config(SCHEDULES["steps"])
    rates = [solver.rate_multiplier(cfg.SOLVER, i) for i in (0, 5, 10, 59, 60, 79, 80, 99)]
    assert rates == pytest.approx([0.001, 0.5005, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_falls_from_one_to_its_end():
    cfg = config(SCHEDULES["cosine to an end"] + ["SOLVER.WARMUP_ITERS", "0"])
    rates = [solver.rate_multiplier(cfg.SOLVER, i) for i in range(101)]
    assert rates[0] == 1 and rates[50] == pytest.approx(0.625) and rates[100] == 0.25
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_equals_detectron2s(name):
    build = pytest.importorskip(
        "detectron2.solver.build", reason="compares with real detectron2, not installed here"
    )
    cfg = config(SCHEDULES[name])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    reference = build.build_lr_scheduler(cfg, optimizer)
    for iteration in range(100):
        wanted = optimizer.param_groups[0]["lr"] / cfg.SOLVER.BASE_LR
        assert solver.rate_multiplier(cfg.SOLVER, iteration) == pytest.approx(wanted, rel=1e-6)
        optimizer.step()
        reference.step()


def test_norms_and_biases_have_their_own_decay():
    cfg = config(["SOLVER.WEIGHT_DECAY_BIAS", "0.5", "SOLVER.BIAS_LR_FACTOR", "2.0"])
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    decays = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in solver.build_optimizer(cfg, model).param_groups
        for parameter in group["params"]
    }
    rate = cfg.SOLVER.BASE_LR
    assert decays[id(model[0].weight)] == (rate, cfg.SOLVER.WEIGHT_DECAY)
    assert decays[id(model[1].weight)] == (rate, 0.0)
    assert decays[id(model[0].bias)] == decays[id(model[1].bias)] == (2 * rate, 0.5)


@pytest.mark.parametrize("kind", ["norm", "value"])
def test_gradients_are_clipped_one_parameter_at_a_time(kind):
    cfg = config(
        [
            "SOLVER.CLIP_GRADIENTS.ENABLED",
            "True",
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
            kind,
            "SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
            "1.0",
        ]
    )
    model = nn.Linear(2, 2)
    model.weight.grad, model.bias.grad = torch.full((2, 2), 3.0), torch.full((2,), 0.1)
    solver.clip_gradients(cfg, model)
    each = 1.0 if kind == "value" else 0.5
    torch.testing.assert_close(model.weight.grad, torch.full((2, 2), each))
    assert torch.equal(model.bias.grad, torch.full((2,), 0.1))
