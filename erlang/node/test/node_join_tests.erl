-module(node_join_tests).
-include_lib("eunit/include/eunit.hrl").

a_schema_on_disc_is_taken_up_test() ->
    ?assertEqual(restore, node_join:decide(b, true, #{a => member}, false)).

alone_creates_at_once_test() ->
    ?assertEqual(create, node_join:decide(a, false, #{}, false)).

members_are_joined_test() ->
    ?assertEqual({join, [a, c]},
                 node_join:decide(b, false, #{a => member, c => member, d => creating}, true)).

one_who_is_at_it_is_waited_for_test_() ->
    [?_assertEqual({wait, {schema_of, [c]}}, node_join:decide(a, false, #{b => undecided, c => Phase}, true))
     || Phase <- [creating, restoring, joining]].

absent_peers_are_waited_for_at_first_test() ->
    ?assertEqual({wait, {peers, [b]}}, node_join:decide(a, false, #{b => down, c => undecided}, false)),
    ?assertEqual(create, node_join:decide(a, false, #{b => down, c => undecided}, true)).

%% Whatever they see, of nodes that see each other undecided exactly one creates.
exactly_one_creates_test() ->
    Nodes = [a, b, c, d],
    [?assertEqual(1, length([create || Self <- Up, create =:= decide(Self, Up, Nodes)]))
     || Up <- sublists(Nodes), Up =/= []].

decide(Self, Up, Nodes) ->
    Peers = maps:from_list([{Peer, case lists:member(Peer, Up) of true -> undecided; false -> down end}
                            || Peer <- Nodes, Peer =/= Self]),
    node_join:decide(Self, false, Peers, true).

sublists([]) -> [[]];
sublists([Head | Tail]) -> [Sub || Rest <- sublists(Tail), Sub <- [[Head | Rest], Rest]].
