%% @doc What a table specification asks of which node. Pure.
-module(node_tables).

-export([placed/1, storage/2, creator/1, own/2, options/1]).

-define(KINDS, [ram_copies, disc_copies, disc_only_copies]).

%% @doc The nodes that shall hold a copy, sorted.
-spec placed(node_config:table()) -> [node()].
placed({_Name, Options}) ->
    lists:usort(lists:append([nodes_of(Kind, Options) || Kind <- ?KINDS])).

-spec nodes_of(atom(), [{atom(), term()}]) -> [node()].
nodes_of(Kind, Options) ->
    case proplists:get_value(Kind, Options, []) of
        Nodes when is_list(Nodes) -> [Node || Node <- Nodes, is_atom(Node)];
        _ -> []
    end.

%% @doc How `Node' stores its copy.
-spec storage(node(), node_config:table()) -> ram_copies | disc_copies | disc_only_copies | none.
storage(Node, {_Name, Options}) ->
    case [Kind || Kind <- ?KINDS, lists:member(Node, nodes_of(Kind, Options))] of
        [Kind | _] -> Kind;
        [] -> none
    end.

%% @doc The node that creates the table: one of those that hold it, the same for everybody.
-spec creator(node_config:table()) -> node().
creator(Table) ->
    hd(placed(Table)).

%% @doc Names of the tables of which `Node' holds a copy.
-spec own(node(), [node_config:table()]) -> [atom()].
own(Node, Tables) ->
    [Name || {Name, _} = Table <- Tables, storage(Node, Table) =/= none].

%% @doc The options as Mnesia takes them.
-spec options(node_config:table()) -> [{atom(), term()}].
options({_Name, Options}) ->
    case lists:keymember(attributes, 1, Options) of
        true -> Options;
        false -> [{attributes, [key, value]} | Options]
    end.
