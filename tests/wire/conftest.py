import pytest
from made_content import made_maps, made_pixels


@pytest.fixture(scope="session")
def pyramid():
    return made_maps()


@pytest.fixture(scope="session")
def pixels():
    return made_pixels()
