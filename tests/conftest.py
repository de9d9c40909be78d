"""Settings of all tests: a busy machine must not fail a property by its clock, and the longest files go first."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("winnow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("winnow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole workflows first, so that none of them runs alone at the end; xdist is told to keep this order."""
    items.sort(key=lambda item: "tests/workflow/" not in item.nodeid)
