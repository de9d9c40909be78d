"""Settings of all tests: a busy machine must not fail a property by its clock."""

from hypothesis import HealthCheck, settings

settings.register_profile("winnow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("winnow")
