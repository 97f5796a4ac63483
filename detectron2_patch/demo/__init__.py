"""The demo's trained detector, shipped with the package."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "model_final.pth"
