"""Settings for all tests."""

import os

from hypothesis import HealthCheck, settings

# Before anything loads TensorFlow: its notes about the processor drown the messages of failed tests.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# How long an example takes depends on what else the machine does, and says nothing of what is tested.
settings.register_profile("any speed", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("any speed")
