-module(node_config_tests).
-include_lib("eunit/include/eunit.hrl").

defaults_test() ->
    ?assertEqual({ok, #{peers => [], schema => disc, tables => [], mnesia_dir => default, grace_ms => 5000}},
                 node_config:parse(#{})).

peers_are_sorted_and_unique_test() ->
    {ok, #{peers := Peers}} = node_config:parse(#{peers => " n3@n3,n2@n2 , n3@n3,"}),
    ?assertEqual(['n2@n2', 'n3@n3'], Peers).

the_node_itself_is_no_peer_test() ->
    {ok, #{peers := Peers}} = node_config:parse(#{peers => atom_to_list(node()) ++ ",n2@n2"}),
    ?assertEqual(['n2@n2'], Peers).

tables_test() ->
    Text = "[{kv, [{ram_copies, ['n1@n1']}, {majority, true}]}]",
    ?assertMatch({ok, #{tables := [{kv, [{ram_copies, ['n1@n1']}, {majority, true}]}]}},
                 node_config:parse(#{tables => Text})),
    ?assertMatch({ok, #{tables := [_]}}, node_config:parse(#{tables => Text ++ "."})).

mistakes_name_the_variable_test_() ->
    [?_assertMatch({match, _}, re:run(error_of(#{Key => Text}), Variable))
     || {Key, Text, Variable} <- [{peers, "n1", "NODE_PEERS"}, {peers, "@", "NODE_PEERS"},
                                  {schema, "tape", "NODE_SCHEMA"},
                                  {tables, "[{kv", "NODE_TABLES"}, {tables, "kv", "NODE_TABLES"},
                                  {tables, "'unfinished", "NODE_TABLES"},
                                  {tables, "[{kv, []}]", "NODE_TABLES"},
                                  {grace_ms, "soon", "NODE_GRACE_MS"}]].

error_of(Texts) ->
    {error, Line} = node_config:parse(Texts),
    ?assertEqual(nomatch, string:find(Line, "\n")),
    Line.
