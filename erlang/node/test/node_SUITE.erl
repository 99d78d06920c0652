%% Several real nodes: joining, tables, restarts.
-module(node_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(cluster, [start/3, kill/1, call/4, ready/1, name/1, names/1, until/1, until/2]).

suite() -> [{timetrap, {minutes, 8}}].

all() ->
    [at_once, last_first, one_after_the_other, ram_schema, placement, restart, restart_of_all, ram_restart,
     lost_directory, majority, mnesia_stopped_by_hand, apart, nobody_else, without_mnesia].

init_per_testcase(Case, Config) ->
    [{dir, filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) ->
    cluster:kill_all().

dir(Config) -> proplists:get_value(dir, Config).

kv() -> "[{kv, [{ram_copies, ['p1@localhost','p2@localhost','p3@localhost']}, {majority, true}]}]".

together(Config, Order, Env) ->
    Peers = [start(dir(Config), N, Env) || N <- Order],
    ready(Peers),
    %% Each is ready when its own tables are; the others hear of it a moment later.
    [until(fun() -> lists:sort(call(Peer, mnesia, system_info, [running_db_nodes])) end, names([1, 2, 3]))
     || Peer <- Peers],
    %% One schema: its cookie is the same everywhere.
    ?assertMatch([_], lists:usort([call(Peer, mnesia, table_info, [schema, cookie]) || Peer <- Peers])),
    Peers.

at_once(Config) ->
    together(Config, [1, 2, 3], #{"NODE_TABLES" => kv()}).

last_first(Config) ->
    together(Config, [3, 2, 1], #{"NODE_TABLES" => kv()}).

%% The first is long done when the others come; it had to do without them.
one_after_the_other(Config) ->
    Env = #{"NODE_GRACE_MS" => "100"},
    Second = start(dir(Config), 2, Env),
    ready([Second]),
    Third = start(dir(Config), 3, Env),
    ready([Third]),
    First = start(dir(Config), 1, Env),
    ready([First]),
    [until(fun() -> lists:sort(call(P, mnesia, system_info, [running_db_nodes])) =:= names([1, 2, 3]) end)
     || P <- [First, Second, Third]].

ram_schema(Config) ->
    Peers = together(Config, [2, 1, 3], #{"NODE_SCHEMA" => "ram", "NODE_TABLES" => kv()}),
    [?assertEqual(ram_copies, call(P, mnesia, table_info, [schema, storage_type])) || P <- Peers].

placement(Config) ->
    Tables = "[{all, [{ram_copies, ['p1@localhost','p2@localhost']}, {disc_copies, ['p3@localhost']}]},"
             " {some, [{disc_copies, ['p1@localhost','p3@localhost']}]},"
             " {one, [{disc_only_copies, ['p2@localhost']}]}]",
    Peers = together(Config, [1, 2, 3], #{"NODE_TABLES" => Tables}),
    ?assertEqual([[ram_copies, disc_copies, unknown],
                  [ram_copies, unknown, disc_only_copies],
                  [disc_copies, disc_copies, unknown]],
                 [[call(P, mnesia, table_info, [Tab, storage_type]) || Tab <- [all, some, one]] || P <- Peers]).

restart(Config) ->
    Tables = "[{kv, [{disc_copies, ['p1@localhost','p2@localhost','p3@localhost']}]}]",
    [First, Second, Third] = together(Config, [1, 2, 3], #{"NODE_TABLES" => Tables}),
    write(First, 1),
    kill(Second),
    write(First, 2),
    Again = start(dir(Config), 2, #{"NODE_TABLES" => Tables}),
    ready([Again]),
    ?assertEqual([1, 2], keys(Again)),
    write(Again, 3),
    [?assertEqual([1, 2, 3], keys(P)) || P <- [First, Third]].

restart_of_all(Config) ->
    Tables = "[{kv, [{disc_copies, ['p1@localhost','p2@localhost','p3@localhost']}]}]",
    Peers = [First | _] = together(Config, [1, 2, 3], #{"NODE_TABLES" => Tables}),
    [write(First, K) || K <- lists:seq(1, 50)],
    %% What was logged reaches the disc up to two seconds later; without this the kills can be faster.
    [ok = call(P, mnesia, sync_log, []) || P <- Peers],
    [kill(P) || P <- Peers],
    Back = [start(dir(Config), N, #{"NODE_TABLES" => Tables}) || N <- [2, 3, 1]],
    ready(Back),
    [?assertEqual(lists:seq(1, 50), keys(P)) || P <- Back].

ram_restart(Config) ->
    Env = #{"NODE_SCHEMA" => "ram", "NODE_TABLES" => kv()},
    [First | _] = together(Config, [1, 2, 3], Env),
    write(First, 1),
    kill(First),
    Again = start(dir(Config), 1, Env),
    ready([Again]),
    ?assertEqual([1], keys(Again)).

lost_directory(Config) ->
    Tables = "[{kv, [{disc_copies, ['p1@localhost','p2@localhost','p3@localhost']}]}]",
    [First, Second, _] = together(Config, [1, 2, 3], #{"NODE_TABLES" => Tables}),
    write(First, 1),
    kill(Second),
    ok = file:del_dir_r(filename:join(dir(Config), atom_to_list(name(2)))),
    Again = start(dir(Config), 2, #{"NODE_TABLES" => Tables}),
    ready([Again]),
    ?assertEqual([1], keys(Again)),
    ?assertEqual(disc_copies, call(Again, mnesia, table_info, [kv, storage_type])).

majority(Config) ->
    [First, Second, Third] = together(Config, [1, 2, 3], #{"NODE_TABLES" => kv()}),
    kill(Second),
    write(First, 1),
    kill(Third),
    until(fun() -> call(First, mnesia, system_info, [running_db_nodes]) =:= [name(1)] end),
    ?assertMatch({aborted, {no_majority, kv}},
                 call(First, mnesia, transaction, [fun mnesia:write/1, [{kv, 2, 2}]])).

%% What an operator stops stays stopped, and is told.
mnesia_stopped_by_hand(Config) ->
    [First | _] = together(Config, [1, 2, 3], #{"NODE_TABLES" => kv()}),
    stopped = call(First, mnesia, stop, []),
    ?assertEqual({starting, {mnesia, no}}, call(First, node_app, ready, [])),
    ok = call(First, mnesia, start, []),
    ready([First]).

%% Two nodes that could not see each other both made a schema; once they can, one is left.
apart(Config) ->
    Env = #{"NODE_GRACE_MS" => "0", "NODE_PEERS" => "p1@localhost,p2@localhost"},
    First = start(dir(Config), 1, Env),
    Second = start(dir(Config), 2, Env#{"COOKIE" => "other"}),
    ready([First, Second]),
    ?assertEqual([[name(1)], [name(2)]], [call(P, mnesia, system_info, [db_nodes]) || P <- [First, Second]]),
    true = call(Second, erlang, set_cookie, [suite]),
    [until(fun() -> lists:sort(call(P, mnesia, system_info, [running_db_nodes])) =:= names([1, 2]) end)
     || P <- [First, Second]],
    ready([First, Second]).

nobody_else(Config) ->
    Peer = start(dir(Config), 1, #{"NODE_PEERS" => "p1@localhost", "NODE_TABLES" => "[{kv,[{disc_copies,['p1@localhost']}]}]"}),
    ready([Peer]),
    write(Peer, 1).

%% Returns when every copy holds it: the cases look at the copies of other nodes.
write(Peer, Key) ->
    {atomic, ok} = call(Peer, mnesia, sync_transaction, [fun mnesia:write/1, [{kv, Key, Key}]]).

keys(Peer) ->
    lists:sort(call(Peer, ets, select, [kv, [{{kv, '$1', '_'}, [], ['$1']}]])).

%% An operator's node sees the cluster, and nothing of it stays behind.
without_mnesia(Config) ->
    Tables = "[{kv, [{ram_copies, ['p2@localhost','p3@localhost']}]}]",
    Pair = [start(dir(Config), N, #{"NODE_PEERS" => "p2@localhost,p3@localhost", "NODE_TABLES" => Tables})
            || N <- [2, 3]],
    ready(Pair),
    Guest = start(dir(Config), 1, #{"NODE_SCHEMA" => "none"}),
    ready([Guest]),
    until(fun() -> lists:sort(call(Guest, erlang, nodes, [])) end, names([2, 3])),
    ?assertEqual(no, call(Guest, mnesia, system_info, [is_running])),
    [?assertEqual(names([2, 3]), lists:sort(call(Peer, mnesia, system_info, [db_nodes]))) || Peer <- Pair].
