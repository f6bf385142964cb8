"""Two test processes on two cores: one thread each, that waits without spinning. Set before torch is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hypothesis import HealthCheck, settings

# An example may wait for a compiler, or for whatever else the machine does: time is no reason to fail.
settings.register_profile("hornbook", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hornbook")
