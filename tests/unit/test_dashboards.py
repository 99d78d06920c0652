"""Every query in dashboards/ asks for metrics and labels that exist; the files fit each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness.data import data_path
from harness.metrics import FAMILIES
from harness.metrics.exposition import DEFAULT_HOST

FOLDER = data_path("dashboards")
LABELS = {name: set(family.series_labels) for family in FAMILIES for name in family.series}
TARGET_LABELS = {"run_id", "scenario", "job", "instance"}  # what service discovery adds to every series


def yaml(name: str) -> Any:
    return YAML(typ="safe").load(FOLDER / name)


def dashboard() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "grafana" / "harness.json").read_text()))


def targets() -> Iterator[tuple[str, str, str]]:
    """(where, PromQL, legend) of every query in the dashboard."""
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], annotation["titleFormat"] + annotation["textFormat"]


@pytest.mark.parametrize(("where", "expr", "legend"), list(targets()))
def test_queries_use_what_is_exported(where: str, expr: str, legend: str) -> None:
    bare = re.sub(r"\{[^}]*\}", "", re.sub(r"\b(by|without)\s*\([^)]*\)", "", expr))
    series = re.findall(r"\b(?:harness|erlang)_\w+", bare)
    assert series, expr
    assert set(series) <= set(LABELS), expr
    for name, matchers in re.findall(r"\b((?:harness|erlang)_\w+)\{([^}]*)\}", expr):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert asked <= LABELS[name] | TARGET_LABELS, expr
    known = set.intersection(*(LABELS[name] for name in series)) | TARGET_LABELS
    grouped = {label.strip() for group in re.findall(r"\bby\s*\(([^)]*)\)", expr) for label in group.split(",")}
    assert grouped <= known, expr
    named = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert named <= (grouped or known), f"{where}: the legend names a label that the query does not keep"


def test_every_query_can_be_narrowed_to_one_run() -> None:
    assert all('run_id=~"$run"' in expr for _, expr, _ in targets())


def test_panels_are_distinct_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_what_the_contract_names_is_shown() -> None:
    shown = {name for _, expr, _ in targets() for name in LABELS if re.search(rf"\b{name}\b", expr)}
    families = {f.name for f in FAMILIES if f.name.startswith("harness_") and shown.isdisjoint(f.series)}
    assert families == {"harness_run", "harness_run_start_timestamp_seconds"}


def test_compose_mounts_what_is_there() -> None:
    services = yaml("docker-compose.yml")["services"]
    for service in services.values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith("./") or (FOLDER / source).exists(), mount
    port = re.search(r"web.listen-address=(\S+)", " ".join(services["prometheus"]["command"]))
    (source,) = yaml("provisioning/datasources/prometheus.yml")["datasources"]
    assert port is not None
    assert source["url"] == f"http://{port[1]}"
    assert port[1].startswith(DEFAULT_HOST)
    (scrape,) = yaml("prometheus.yml")["scrape_configs"]
    assert PurePosixPath(scrape["file_sd_configs"][0]["files"][0]).parent.name == "targets"
    (provider,) = yaml("provisioning/dashboards/harness.yml")["providers"]
    assert f"./grafana:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
