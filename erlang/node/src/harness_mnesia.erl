%% @doc Mnesia of this node as the probe uses it: set up where the release has none, asked and
%% subscribed to without ever failing because it is not there.
-module(harness_mnesia).

-export([ensure_mnesia/2, ensure_table/2, tables_loaded/2]).
-export([is_running/0, table_info/2, subscribe/1]).

-define(RPC_TIMEOUT_MS, 5000).

%% @doc Starts Mnesia and joins whichever of `Nodes' already runs it; with none running this
%% node is the first. To be called on one node after the other.
-spec ensure_mnesia([node()], disc | ram) -> ok | {error, term()}.
ensure_mnesia(Nodes, Kind) ->
    Others = [Node || Node <- Nodes, Node =/= node(), runs_mnesia(Node)],
    case mnesia:start() of
        ok -> join(Others -- mnesia:system_info(running_db_nodes), Kind);
        {error, Reason} -> {error, Reason}
    end.

-spec runs_mnesia(node()) -> boolean().
runs_mnesia(Node) ->
    try erpc:call(Node, mnesia, system_info, [is_running], ?RPC_TIMEOUT_MS) =:= yes
    catch _:_ -> false
    end.

-spec join([node()], disc | ram) -> ok | {error, term()}.
join([], Kind) ->
    keep_schema(Kind);
join(Others, Kind) ->
    case mnesia:change_config(extra_db_nodes, Others) of
        {ok, [_ | _]} -> keep_schema(Kind);
        {ok, []} -> {error, {not_joined, Others}};
        {error, Reason} -> {error, Reason}
    end.

-spec keep_schema(disc | ram) -> ok | {error, term()}.
keep_schema(ram) ->
    ok;
keep_schema(disc) ->
    case mnesia:change_table_copy_type(schema, node(), disc_copies) of
        {atomic, ok} -> ok;
        {aborted, {already_exists, schema, _, disc_copies}} -> ok;
        {aborted, Reason} -> {error, Reason}
    end.

%% @doc Creates a table of rows `{Tab, Key, Value}' unless it exists.
-spec ensure_table(atom(), [{atom(), term()}]) -> ok | {error, term()}.
ensure_table(Tab, Options) ->
    case mnesia:create_table(Tab, [{attributes, [key, value]} | proplists:delete(attributes, Options)]) of
        {atomic, ok} -> ok;
        {aborted, {already_exists, Tab}} -> ok;
        {aborted, Reason} -> {error, Reason}
    end.

-spec tables_loaded([atom()], timeout()) -> ok | {timeout, [atom()]} | {error, term()}.
tables_loaded(Tabs, Timeout) ->
    mnesia:wait_for_tables(Tabs, Timeout).

%% @doc `no' also in a node that has not even Mnesia's code.
-spec is_running() -> yes | no | starting | stopping.
is_running() ->
    try mnesia:system_info(is_running)
    catch _:_ -> no
    end.

-spec table_info(atom(), atom()) -> term().
table_info(Tab, Item) ->
    try mnesia:table_info(Tab, Item)
    catch _:_ -> unknown
    end.

%% @doc Subscribes and watches the server of the subscriptions: they end with it.
-spec subscribe(system | {table, atom(), simple}) -> {ok, Monitor :: reference()} | no.
subscribe(What) ->
    Server = whereis(mnesia_subscr),
    try is_pid(Server) andalso mnesia:subscribe(What) of
        {ok, _} -> {ok, monitor(process, Server)};
        _ -> no
    catch
        exit:_ -> no
    end.
