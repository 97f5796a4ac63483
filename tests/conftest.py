import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.chdir(ROOT)  # configs/ and tools/ are named from the top of the project


@pytest.fixture(scope="session")
def photographs():
    """The folder of real photographs beside the project."""
    folder = ROOT.parent / "shared" / "datasets"
    if not folder.is_dir():
        pytest.skip("needs ../shared/datasets, real photographs beside the project")
    return folder
