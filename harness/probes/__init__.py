"""What is watched: who sees whom, how far replicas lag, how the nodes fare; and what they hold at the end."""

from harness.probes.final import read_final_state
from harness.probes.probes import Probes
from harness.probes.steady import QuiesceReport, baseline, quiesce, run_setup

__all__ = ["Probes", "QuiesceReport", "baseline", "quiesce", "read_final_state", "run_setup"]
