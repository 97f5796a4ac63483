import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None, print_blob=True)  # machines are shared
settings.load_profile("patient")
ROOT = Path(__file__).resolve().parent.parent
os.chdir(ROOT)  # configs/ and tools/ are named from the top of the project


@pytest.fixture(scope="session")
def photographs():
    """The folder of real photographs beside the project."""
    folder = ROOT.parent / "shared" / "datasets"
    if not folder.is_dir():
        pytest.skip("needs ../shared/datasets, real photographs beside the project")
    return folder
