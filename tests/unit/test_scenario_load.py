"""Mistakes in scenario files: all of them, where they are, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ScenarioError, UsageError
from harness.scenario.load import find_scenario, load_scenario, load_scenarios, shipped_scenarios

GOOD = """name: good
cluster: {nodes: 3, mnesia: {tables: {kv: {ram_copies: all}}}}
load: {operations: [{write: {table: kv}}]}
timeline:
  - {at: 1s, for: 2s, partition: {groups: [[n1], [n2, n3]]}}
duration: 10s
"""


def told(text: str, environ: dict[str, str] | None = None, settings: tuple[str, ...] = ()) -> list[str]:
    """Every problem as it is shown, without the file's name."""
    with pytest.raises(ScenarioError) as caught:
        load_scenario(text, environ or {}, settings)
    assert caught.value.exit_code == 2
    return [str(problem).removeprefix("<text>:") for problem in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_good_scenario_loads() -> None:
    scenario = load_scenario(GOOD, {})
    assert scenario.duration == 10.0
    assert scenario.timeline[0].for_ == 2.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "1:5: not YAML: while parsing a flow node, expected the node content, but found '<stream end>'"),
        ("", "1:1: the file is empty; a scenario begins with name:"),
        ("# nothing\n", "1:1: the file is empty; a scenario begins with name:"),
        ("7", "1:1: expected a map, got 7; a scenario begins with name:"),
        (changed("nodes: 3", "nodez: 3"), "2:11: unknown key 'nodez' in cluster; did you mean nodes?"),
        (changed("duration: 10s", "duration: 10"), "6:11: duration: a duration needs a unit: 10s?"),
        (changed("duration: 10s", "duration: soon"), "6:11: duration: 'soon' is no duration; write 10s, 250ms or 2m"),
        (changed("duration: 10s", ""), "1:1: missing key 'duration'"),
        (changed("name: good", "name: a b"),
         "1:7: name: 'a b' is no name; use letters, digits, dot, dash, underscore"),
        (changed("name: good", "name: 5"), "1:7: name: expected text; write \"5\" in quotes, got 5"),
        (changed("nodes: 3", "nodes: {n1: {imag: x}}"),
         "2:24: unknown key 'imag' in cluster.nodes.n1; did you mean image?"),
        (changed("nodes: 3", "image: 27"),
         "2:18: cluster.image: expected {otp: 27}, or an image reference like myteam/app:1.2, got 27"),
        (changed("nodes: 3", "nodes: true"),
         "2:18: cluster.nodes: expected a number of nodes, a list of names like [a, b] "
         "or a map like {n1: {image: {otp: 25}}, n2: {}}, got true"),
        (changed("ram_copies: all", "ram_copies: n1"),
         "2:56: cluster.mnesia.tables.kv.ram_copies: expected all, or a list of nodes like [n1, n2], got 'n1'"),
        (changed("load: {", "load: {rate: 400, "), "3:14: load.rate: 400 is no rate; write 400/s or 30/m"),
        (changed("load: {", "load: {value_size: 1q, "),
         "3:20: load.value_size: '1q' is no size; write 100B, 4KiB or 512MiB"),
        (changed("load: {", "load: {users: many, "), "3:15: load.users: expected a whole number, got 'many'"),
        (changed("load: {", "load: {users: 3, workers: true, "), "3:27: load.workers: expected a whole number"),
        (changed("load: {", "load: {workers: 0, "), "3:17: load.workers: must be at least 1, got 0"),
        (changed("write: {table: kv}", "write: {table: kv, context: transction}"),
         "3:50: load.operations.0.write.context: expected one of transaction, sync_transaction, async_dirty, "
         "sync_dirty; got 'transction'; did you mean transaction?"),
        (changed("write: {table: kv}", "weight: 2"),
         "3:21: load.operations.0: an operation is exactly one of rpc, write, read, update; this one has none"),
        (changed("partition: {groups: [[n1], [n2, n3]]}", "partition: {groups: [[n1]]}"),
         "5:43: timeline.0.partition.groups: needs at least 2 entries"),
        (changed("at: 1s, for: 2s, partition: {groups: [[n1], [n2, n3]]}", "at: 1s"),
         "5:5: timeline.0: a step is exactly one of partition, kill, pause, recover, rpc, sequence, parallel; "
         "this one has none"),
        (changed("{at: 1s, for: 2s, partition: {groups: [[n1], [n2, n3]]}}", "3"),
         "5:5: timeline.0: expected a map like {at: 10s, for: 5s, kill: {nodes: [n2]}}, got 3"),
        (changed("groups: [[n1], [n2, n3]]", "groups: [n1, n2]"),
         "5:44: timeline.0.partition.groups.0: expected a list of nodes like [n1, n2], got 'n1'"),
        (changed("write: {table: kv}", "write: kv"),
         "3:29: load.operations.0.write: expected a map like {table: kv}, got 'kv'"),
        ("name: my: shop", "1:9: not YAML: mapping values are not allowed here; a line is indented wrongly, "
         "or a text with \": \" in it lacks quotes"),
        (GOOD + "name: again\n", "7:1: 'name' is given twice; first on line 1"),
        (changed("nodes: 3", "nodes: !set 3"),
         "2:18: unknown tag !set; there are !tuple [..], !charlist text, !binary text"),
        (changed("nodes: 3", "cookie: ${COOKIE"), "2:18: ${COOKIE"),
    ],
)  # fmt: skip
def test_mistakes_are_told_where_they_are(text: str, expected: str) -> None:
    problems = told(text)
    if expected.endswith("${COOKIE"):  # inside { } YAML itself stumbles; the remedy is told
        assert any("needs quotes" in problem for problem in problems)
    else:
        assert expected in problems


def test_all_mistakes_at_once_in_file_order() -> None:
    text = """name: x
cluster: {nodes: 3, mnesia: {tables: {kv: {ram_copies: all}}}, kernel: {net_tick: 3}}
load:
  rate: 400
  operations:
    - {write: {table: kw}}
    - {rpc: {module: a}}
timeline:
  - {at: 10, kill: {nodes: [n2]}, name: cut}
  - {after: cut, for: 5s, partition: {groups: [[n1], [n1, n9]]}}
  - {after: cutt, pause: {nodes: [n3]}}
duration: 60s
expect: {detction: 3s}
"""
    assert told(text) == [
        "2:73: unknown key 'net_tick' in cluster.kernel; did you mean net_ticktime?",
        "4:9: load.rate: 400 is no rate; write 400/s or 30/m",
        "6:23: table 'kw' is not declared; add it: cluster.mnesia.tables.kw",
        "7:13: missing key 'function' in load.operations.1.rpc",
        "9:10: timeline.0.at: a duration needs a unit: 10s?",
        "10:55: node n1 is in two groups (1 and 2)",
        "10:59: no node is called 'n9'; there are n1, n2, n3",
        "11:13: no step is called 'cutt' (there are cut)",
        "13:10: no check is called 'detction'; did you mean detection?",
    ]


# --- ${NAME} ---


def test_variables_are_replaced_after_parsing() -> None:
    text = GOOD.replace("name: good", "name: ${WHO}").replace("load: {", 'load: {users: "${USERS:-7}", ')
    scenario = load_scenario(text, {"WHO": "me", "USERS": ""})
    assert (scenario.name, scenario.load.users) == ("me", 7)


def test_a_value_of_the_environment_cannot_change_the_structure() -> None:
    text = GOOD.replace("name: good", "name: good\ndescription: ${TEXT}")
    assert load_scenario(text, {"TEXT": "a\nseed: 5"}).description == "a\nseed: 5"


def test_an_unset_variable_is_told_once() -> None:
    assert told(changed("duration: 10s", "duration: ${HOW_LONG}")) == [
        "6:11: ${HOW_LONG} is not set; export HOW_LONG, or write ${HOW_LONG:-default}"
    ]


def test_a_malformed_variable_is_told() -> None:
    assert told(changed("duration: 10s", "duration: ${how long}"))[0].startswith("6:11: ${how long} cannot be read")


def test_a_plain_dollar_brace_can_be_written() -> None:
    text = GOOD.replace("name: good", "name: good\ndescription: $${NAME} costs $5")
    assert load_scenario(text, {}).description == "${NAME} costs $5"


def test_a_cookie_is_never_shown() -> None:
    assert not any("swordfish" in problem for problem in told(changed("nodes: 3", "cookie: [swordfish]")))


# --- hostile ---


def test_alias_expansion_is_bounded() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    assert any("once aliases are expanded" in problem for problem in told(bomb))


def test_an_alias_inside_itself_is_told() -> None:
    assert any("contains itself" in problem for problem in told("name: &a [*a]"))


def test_deep_nesting_is_told() -> None:
    assert any("nested too deeply" in problem for problem in told("[" * 5000))
    assert any("nested too deeply" in problem for problem in told("a: " + "[" * 100 + "]" * 100))


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ScenarioError, match="not UTF-8 text"):
        load_scenario(file, {})
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path, {})


def test_merge_keys_and_aliases_work() -> None:
    text = GOOD.replace("{write: {table: kv}}", "&w {write: {table: kv}}, {<<: *w, weight: 3}")
    first, second = load_scenario(text, {}).load.operations
    assert second == first.model_copy(update={"weight": 3})


# --- overrides ---


def test_overrides_are_validated_like_the_file() -> None:
    scenario = load_scenario(
        GOOD.replace("{at: 1s", "{name: cut, at: 1s"),
        {},
        ("seed=9", "load.rate=30/m", "timeline.cut.for=3s", "timeline.0.at=2s", "cluster.nodes=[n1, n2, n3, n4]",
         "expect.detection=20s"),
    )  # fmt: skip
    assert (scenario.seed, scenario.load.rate, scenario.timeline[0].for_) == (9, 0.5, 3.0)
    assert scenario.timeline[0].at == 2.0
    assert scenario.cluster.nodes == ("n1", "n2", "n3", "n4")
    assert scenario.expect == {"detection": "20s"}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("load.users=x", "--set load.users=x: load.users: expected a whole number, got 'x'"),
        ("load.user=5", "--set load.user=5: unknown key 'user' in load; did you mean users?"),
        ("lod.rate=5/s", "--set lod.rate=5/s: unknown key 'lod'; did you mean load?"),
        ("load", "--set load: write path=value, like load.rate=100/s"),
        ("=5", "--set =5: write path=value, like load.rate=100/s"),
        ("timeline.7.at=1s", "--set timeline.7.at=1s: timeline has no entry 7; there are 0..0"),
        ("name.x=1", "--set name.x=1: name is 'good', no map to set x in"),
        ("timeline.0.partition.groups=[[n1], [n7]]",
         "--set timeline.0.partition.groups=[[n1], [n7]]: no node is called 'n7'; there are n1, n2, n3"),
        ("seed=[", "--set seed=[: not YAML: while parsing a flow node, expected the node content, "
                   "but found '<stream end>'"),
    ],
)  # fmt: skip
def test_mistakes_of_overrides_say_set(setting: str, expected: str) -> None:
    assert told(GOOD, settings=(setting,)) == [expected]


# --- finding ---


def test_shipped_scenarios_are_found_by_name(tmp_path: Path) -> None:
    assert find_scenario("partition.yml") == find_scenario("partition") == shipped_scenarios()["partition.yml"]
    own = tmp_path / "partition.yml"
    own.write_text(GOOD)
    assert find_scenario(str(own)) == own
    with pytest.raises(UsageError, match=r"did you mean partition\.yml"):
        find_scenario("partitoin.yml")
    with pytest.raises(UsageError, match="is a folder"):
        find_scenario(str(tmp_path))


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_shipped_scenarios_are_valid(name: str) -> None:
    load_scenario(shipped_scenarios()[name], {})


def test_a_locustfile_is_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text(GOOD.replace("operations: [{write: {table: kv}}]", "locustfile: users.py"))
    with pytest.raises(ScenarioError, match=r"own\.yml:3:20: locustfile: users\.py is not there"):
        load_scenario(file, {})
    (tmp_path / "users.py").write_text("")
    assert load_scenario(file, {}).load.locustfile == str(tmp_path / "users.py")


# --- all of them, whatever one of them is ---

CONTRADICTS = """name: x
cluster: {%s}
load: {operations: [{write: {table: kv}}, {read: {table: kw}}]}
timeline:
  - {at: 1s, for: 2s, partition: {groups: [[n1], [n1, n2]]}}
  - {at: 3s, for: 2s, kill: {nodes: [n2]}}
  - {at: 4s, pause: {nodes: [n9]}}
%s
expect: {detction: 3s}
"""
KNOWN = "nodes: 3, mnesia: {tables: {kv: {ram_copies: all}}}"
OTHERS = {
    "kw": "3:58: table 'kw' is not declared; add it: cluster.mnesia.tables.kw",
    "twice": "5:51: node n1 is in two groups (1 and 2)",
    "n9": "7:30: no node is called 'n9'; there are n1, n2, n3",
    "detction": "9:10: no check is called 'detction'; did you mean detection?",
}


@pytest.mark.parametrize(
    ("cluster", "duration", "mistake", "hidden"),
    [
        ("nodes: 3, mnesia: {tabels: {kv: {ram_copies: all}}}", "10s",
         "2:30: unknown key 'tabels' in cluster.mnesia; did you mean tables?", ""),
        ("nodes: 3, mnesai: {tables: {kv: {ram_copies: all}}}", "10s",
         "2:21: unknown key 'mnesai' in cluster; did you mean mnesia?", ""),
        ("nodes: 3, mnesia: {tables: {kv: {ram_copie: all}}}", "10s",
         "2:44: unknown key 'ram_copie' in cluster.mnesia.tables.kv; did you mean ram_copies?", ""),
        ("nodes: 3, mnesia: {tables: {kv: {ram_copies: all}}, colour: red}", "10s",
         "2:63: unknown key 'colour' in cluster.mnesia; known: tables, observe", ""),
        ("nodes: 3, mnesia: {tables: {kv: {ram_copies: 1}}}", "10s",
         "2:56: cluster.mnesia.tables.kv.ram_copies: expected all, or a list of nodes like [n1, n2], got 1", ""),
        ("nodes: 3, mnesia: {tables: 5}", "10s",
         "2:38: cluster.mnesia.tables: expected a map like {kv: {ram_copies: all}}, got 5", "kw"),
        ("nodes: {n1: {imag: x}, n2: {}, n3: {}}, mnesia: {tables: {kv: {ram_copies: all}}}", "10s",
         "2:24: unknown key 'imag' in cluster.nodes.n1; did you mean image?", ""),
        ("nodes: 0, mnesia: {tables: {kv: {ram_copies: all}}}", "10s",
         "2:18: cluster.nodes: a cluster has 1 to 100 nodes, got 0", "n9"),
        ("nodes: true, mnesia: {tables: {kv: {ram_copies: all}}}", "10s",
         "2:18: cluster.nodes: expected a number of nodes, a list of names like [a, b] "
         "or a map like {n1: {image: {otp: 25}}, n2: {}}, got true", "n9"),
        (KNOWN, "soon", "8:11: duration: 'soon' is no duration; write 10s, 250ms or 2m", ""),
        (KNOWN, "", "1:1: missing key 'duration'", ""),
    ],
)  # fmt: skip
def test_no_mistake_hides_the_others_nor_causes_any(cluster: str, duration: str, mistake: str, hidden: str) -> None:
    """Of what could not be read nothing more is said: ``hidden``."""
    written = f"duration: {duration}" if duration else "seed: 1"
    others = [line for name, line in OTHERS.items() if name != hidden]
    assert sorted(told(CONTRADICTS % (cluster, written))) == sorted([mistake, *others])


def test_files_that_are_not_there_hide_no_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(changed("duration: 10s", "duration: 10"))
    names = ["smok.yml", str(wrong), "/nope.yml", str(tmp_path / "gone.yml")]
    with pytest.raises(ScenarioError) as caught:
        load_scenarios(names, {})
    first, second, third, fourth = map(str, caught.value.problems)
    assert first.startswith("harness: find scenario: smok.yml: no such file")
    assert first.endswith("did you mean smoke.yml?")
    assert second == f"{wrong}:6:11: duration: a duration needs a unit: 10s?"
    assert "/nope.yml: no such file" in third
    assert "did you mean" not in third + fourth
    with pytest.raises(UsageError, match=r"/nope\.yml: no such file"):
        load_scenarios(["smoke.yml", "/nope.yml"], {})
