%% @doc Who creates the Mnesia schema and who joins it: the decision alone, without effects.
%%
%% Two schemas can not be merged, so at most one node may create one. Nodes that start
%% together with empty directories all come to the same answer: the lowest name among those
%% that see each other creates, everybody else joins. A node that does not see all of its
%% peers waits a while for them first, so that "those that see each other" is not an accident
%% of which container came up a moment earlier.
-module(node_join).

-export([decide/4]).

-export_type([phase/0, decision/0]).

%% What a node says about itself. `restoring': it has a schema on disc and is starting it.
-type phase() :: undecided | creating | restoring | joining | member.
-type decision() :: restore | create | {join, [node()]} | {wait, term()}.

%% @doc `Peers' maps each configured peer to its phase, or `down' when it can't be asked.
-spec decide(node(), HasSchema :: boolean(), #{node() => phase() | down}, GraceOver :: boolean()) ->
    decision().
decide(_Self, true, _Peers, _GraceOver) ->
    restore;
decide(Self, false, Peers, GraceOver) ->
    case {in_phase([member], Peers), in_phase([creating, restoring, joining], Peers)} of
        {[_ | _] = Members, _} -> {join, Members};
        {[], [_ | _] = Busy} -> {wait, {schema_of, Busy}};
        {[], []} -> elect(Self, Peers, GraceOver)
    end.

-spec elect(node(), #{node() => phase() | down}, boolean()) -> decision().
elect(Self, Peers, GraceOver) ->
    Lowest = lists:min([Self | in_phase([undecided], Peers)]),
    case in_phase([down], Peers) of
        [_ | _] = Down when not GraceOver -> {wait, {peers, Down}};
        _ when Lowest =:= Self -> create;
        _ -> {wait, {schema_of, [Lowest]}}
    end.

-spec in_phase([phase() | down], #{node() => phase() | down}) -> [node()].
in_phase(Phases, Peers) ->
    lists:sort([Peer || {Peer, Phase} <- maps:to_list(Peers), lists:member(Phase, Phases)]).
