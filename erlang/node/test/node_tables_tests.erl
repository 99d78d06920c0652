-module(node_tables_tests).
-include_lib("eunit/include/eunit.hrl").

-define(TABLE, {t, [{disc_copies, [c, a]}, {ram_copies, [b]}, {majority, true}]}).

placed_test() ->
    ?assertEqual([a, b, c], node_tables:placed(?TABLE)),
    ?assertEqual([], node_tables:placed({t, [{majority, true}]})).

storage_test() ->
    ?assertEqual([disc_copies, ram_copies, disc_copies, none],
                 [node_tables:storage(Node, ?TABLE) || Node <- [a, b, c, d]]).

creator_is_the_lowest_holder_test() ->
    ?assertEqual(a, node_tables:creator(?TABLE)).

own_test() ->
    Other = {u, [{ram_copies, [d]}]},
    ?assertEqual([t], node_tables:own(b, [?TABLE, Other])),
    ?assertEqual([u], node_tables:own(d, [?TABLE, Other])).

attributes_are_added_once_test() ->
    ?assertEqual([{attributes, [key, value]}, {ram_copies, [a]}],
                 node_tables:options({t, [{ram_copies, [a]}]})),
    ?assertEqual([{attributes, [k, v]}], node_tables:options({t, [{attributes, [k, v]}]})).
