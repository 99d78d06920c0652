"""Every metric there is: name, type, labels, buckets. What is not listed here is not exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram", "stateset", "info"]

Labels = tuple[str, ...]

PHASES: Final = ("starting", "baseline", "ramping", "load", "stopping", "quiesce", "judging", "ended")
VERDICTS: Final = ("RUNNING", "PASS", "FAIL", "INCONCLUSIVE", "ABORTED")

# Seconds. The upper end covers a writer that waits for failure detection at Erlang's default ticktime.
DURATION_BUCKETS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
LAG_BUCKETS: Final = (0.00001, 0.000025, 0.00005, *DURATION_BUCKETS)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. ``name`` is bare: samples of a counter add ``_total``, of an info ``_info``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    states: tuple[str, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the time series a query may use."""
        match self.kind:
            case "counter":
                return (f"{self.name}_total",)
            case "info":
                return (f"{self.name}_info",)
            case "histogram":
                return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)

    @property
    def series_labels(self) -> tuple[str, ...]:
        """Labels of those series: ``le`` of a histogram, a state set's own name."""
        extra = {"histogram": ("le",), "stateset": (self.name,)}.get(self.kind, ())
        return (*self.labels, *extra)


def _histogram(name: str, help: str, *labels: str, buckets: tuple[float, ...] = DURATION_BUCKETS) -> Family:
    return Family(f"harness_{name}", "histogram", help, labels, buckets)


def _counter(name: str, help: str, *labels: str) -> Family:
    return Family(f"harness_{name}", "counter", help, labels)


def _gauge(name: str, help: str, *labels: str) -> Family:
    return Family(f"harness_{name}", "gauge", help, labels)


OPERATION_DURATION: Final = _histogram(
    "operation_duration_seconds", "From the intended start of an operation to its outcome.",
    "op", "target", "outcome",
)  # fmt: skip
OPERATION_SERVICE_TIME: Final = _histogram(
    "operation_service_time_seconds", "From the actual start of an operation to its outcome.",
    "op", "target", "outcome",
)  # fmt: skip
OPERATIONS: Final = _counter(
    "operations", "Operations completed; outcome is ok, fail or unknown.", "op", "target", "outcome", "reason"
)
OFFERED: Final = _counter("operations_offered", "Operations that were due.", "op", "target")
DROPPED: Final = _counter("operations_dropped", "Operations due and never started.", "reason")
LATE: Final = _counter("operations_late", "Operations started later than they were due.")
IN_FLIGHT: Final = _gauge("operations_in_flight", "Operations invoked and not completed.")
LAG: Final = _histogram(
    "replication_lag_seconds",
    "From the acknowledgement of a probe write to the row being readable in the replica's own copy.",
    "table", "source", "replica", "context", buckets=LAG_BUCKETS,
)  # fmt: skip
EARLY: Final = _counter(
    "replication_visible_before_ack",
    "Probe rows readable on the replica before the writer had its acknowledgement (lag observed as 0).",
    "table", "source", "replica", "context",
)  # fmt: skip
PENDING: Final = _gauge(
    "replication_pending_writes", "Probe writes done and not yet in the replica's copy.", "table", "replica"
)
LOST_WRITES: Final = _counter("lost_writes", "Acknowledged writes absent after quiesce.", "table")
DIVERGENT: Final = _gauge("divergent_records", "Records that differ between replicas after quiesce.", "table")
FAULT_ACTIVE: Final = _gauge("fault_active", "1 while the fault is in force on the target.", "fault", "kind", "target")
FAULTS_INJECTED: Final = _counter(
    "faults_injected", "Faults by what became of them: bit, not_bitten, skipped or failed.", "kind", "result"
)
INJECTION_DURATION: Final = _histogram(
    "fault_injection_duration_seconds", "From the order to the proof that the fault bit.", "kind"
)
RECOVERY_DURATION: Final = _histogram(
    "recovery_duration_seconds",
    "detect: fault to nodedown, per node; heal: order to proof; consistent: healed to no backlog, full views.",
    "kind", "stage",
)  # fmt: skip
NODE_UP: Final = _gauge("node_up", "1 when the node answers.", "node")
LINK_UP: Final = _gauge("dist_link_up", "1 when the node lists the peer as connected.", "node", "peer")
PHASE: Final = Family("harness_phase", "stateset", "Where the run is.", states=PHASES)
VERDICT: Final = Family("harness_verdict", "stateset", "What the run came to.", states=VERDICTS)
EXPECTATION: Final = _gauge("expectation_passed", "1 when the expectation was met.", "expectation")
WORKER_CPU: Final = _gauge("worker_cpu_ratio", "Share of one core a load worker uses.", "worker")
WORKER_LAG: Final = _gauge("worker_loop_lag_seconds", "How late a load worker's event loop runs.", "worker")
RUN_INFO: Final = Family("harness_run", "info", "What is running.", ("run_id", "scenario", "otp", "version"))
RUN_START: Final = _gauge("run_start_timestamp_seconds", "Unix time at which the run began.")


def _node_gauge(name: str, help: str, *labels: str) -> Family:
    return Family(name, "gauge", help, ("node", *labels))


# Names as in prometheus.erl 6, which Erlang nodes export themselves; ``node`` says whose figure it is.
ERLANG: Final[tuple[Family, ...]] = (
    _node_gauge("erlang_vm_memory_bytes", "Memory of the VM by kind: system or processes.", "kind"),
    _node_gauge("erlang_vm_memory_system_bytes", "Memory by usage: atom, binary, code, ets or other.", "usage"),
    _node_gauge("erlang_vm_process_count", "Processes alive."),
    _node_gauge("erlang_vm_statistics_run_queues_length", "Processes and ports ready to run."),
    _node_gauge("erlang_vm_dist_node_queue_size_bytes", "Bytes queued towards the peer.", "peer"),
    _node_gauge("erlang_vm_dist_send_pend_bytes", "Bytes waiting in the peer's socket.", "peer"),
    _node_gauge("erlang_vm_dist_send_bytes", "Bytes sent to the peer on this connection.", "peer"),
    _node_gauge("erlang_vm_dist_recv_bytes", "Bytes received from the peer on this connection.", "peer"),
    Family("erlang_mnesia_committed_transactions", "counter", "Transactions committed.", ("node",)),
    Family("erlang_mnesia_failed_transactions", "counter", "Transactions aborted.", ("node",)),
    Family("erlang_mnesia_restarted_transactions", "counter", "Transaction restarts.", ("node",)),
    Family("erlang_mnesia_logged_transactions", "counter", "Transactions logged.", ("node",)),
    _node_gauge("erlang_mnesia_tablewise_size", "Records in the node's own copy of the table.", "table"),
)
ERLANG_BY_NAME: Final = {family.name: family for family in ERLANG}

FAMILIES: Final[tuple[Family, ...]] = (
    OPERATION_DURATION, OPERATION_SERVICE_TIME, OPERATIONS, OFFERED, DROPPED, LATE, IN_FLIGHT,
    LAG, EARLY, PENDING, LOST_WRITES, DIVERGENT,
    FAULT_ACTIVE, FAULTS_INJECTED, INJECTION_DURATION, RECOVERY_DURATION, NODE_UP, LINK_UP,
    PHASE, VERDICT, EXPECTATION, WORKER_CPU, WORKER_LAG, RUN_INFO, RUN_START,
    *ERLANG,
)  # fmt: skip
