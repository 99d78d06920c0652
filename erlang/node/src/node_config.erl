%% @doc The node's settings: read from the environment, checked once, then a plain map.
%%
%% Environment variables win over the application environment (`sys.config'), since a
%% container is configured through the former.
-module(node_config).

-export([load/0, parse/1]).

-export_type([config/0, table/0]).

-type table() :: {Name :: atom(), Options :: [{atom(), term()}]}.
-type config() :: #{
    %% Other nodes of the cluster, sorted, without this one.
    peers := [node()],
    %% `none': this node takes no part in Mnesia, it only connects. Any other stays in the schema
    %% of the cluster for good, which is nothing for an operator's node that comes and goes.
    schema := disc | ram | none,
    tables := [table()],
    %% `default' leaves the place to Mnesia: `Mnesia.<node>' in the release.
    mnesia_dir := default | string(),
    %% How long a node without a schema looks for all of its peers before it settles
    %% for those it sees.
    grace_ms := non_neg_integer()
}.
-type key() :: peers | schema | tables | mnesia_dir | grace_ms.

-spec load() -> {ok, config()} | {error, string()}.
load() ->
    parse(maps:from_list([{Key, value(Key, Variable)} || {Key, Variable} <- variables()])).

-spec variables() -> [{key(), string()}].
variables() ->
    [{peers, "NODE_PEERS"}, {schema, "NODE_SCHEMA"}, {tables, "NODE_TABLES"},
     {mnesia_dir, "NODE_MNESIA_DIR"}, {grace_ms, "NODE_GRACE_MS"}].

-spec value(key(), string()) -> string().
value(Key, Variable) ->
    case os:getenv(Variable, "") of
        "" -> application:get_env(node, Key, "");
        Text -> Text
    end.

%% @doc Turns the texts into a config; an error is one line that names the variable.
-spec parse(#{key() => string()}) -> {ok, config()} | {error, string()}.
parse(Texts) ->
    try
        {ok, maps:from_list([{Key, setting(Key, string:trim(maps:get(Key, Texts, "")), Variable)}
                             || {Key, Variable} <- variables()])}
    catch
        throw:{bad, Variable, Text, Expected} ->
            {error, lists:flatten(io_lib:format("~s is ~ts; expected ~ts", [Variable, Text, Expected]))}
    end.

-spec setting(key(), string(), string()) -> term().
setting(peers, Text, Variable) ->
    Names = [string:trim(Name) || Name <- string:split(Text, ",", all), string:trim(Name) =/= ""],
    lists:usort([node_name(Name, Variable) || Name <- Names]) -- [node()];
setting(schema, "", _) -> disc;
setting(schema, "disc", _) -> disc;
setting(schema, "ram", _) -> ram;
setting(schema, "none", _) -> none;
setting(schema, Text, Variable) -> throw({bad, Variable, Text, "disc, ram or none"});
setting(tables, "", _) -> [];
setting(tables, Text, Variable) ->
    Tables = term(Text, Variable),
    case is_list(Tables) andalso lists:all(fun is_table/1, Tables) of
        true -> Tables;
        false -> throw({bad, Variable, Text, tables_expected()})
    end;
setting(mnesia_dir, "", _) -> default;
setting(mnesia_dir, Text, _) -> Text;
setting(grace_ms, "", _) -> 5000;
setting(grace_ms, Text, Variable) ->
    case string:to_integer(Text) of
        {Ms, ""} when is_integer(Ms), Ms >= 0 -> Ms;
        _ -> throw({bad, Variable, Text, "milliseconds"})
    end.

-spec node_name(string(), string()) -> node().
node_name(Name, Variable) ->
    case string:split(Name, "@", all) of
        [[_ | _], [_ | _]] -> list_to_atom(Name);
        _ -> throw({bad, Variable, Name, "node names such as n1@n1, separated by commas"})
    end.

-spec term(string(), string()) -> term().
term(Text, Variable) ->
    scanned(erl_scan:string(string:trim(Text, trailing, ".") ++ "."), Text, Variable).

-spec scanned(term(), string(), string()) -> term().
scanned({ok, Tokens, _}, Text, Variable) ->
    case erl_parse:parse_term(Tokens) of
        {ok, Term} -> Term;
        {error, _} -> throw({bad, Variable, Text, tables_expected()})
    end;
scanned(_, Text, Variable) ->
    throw({bad, Variable, Text, tables_expected()}).

-spec is_table(term()) -> boolean().
is_table({Name, Options}) when is_atom(Name), is_list(Options) ->
    lists:all(fun(Option) -> is_tuple(Option) andalso tuple_size(Option) =:= 2 end, Options)
        andalso node_tables:placed({Name, Options}) =/= [];
is_table(_) ->
    false.

-spec tables_expected() -> string().
tables_expected() ->
    "an Erlang term such as [{kv, [{ram_copies, ['n1@n1', 'n2@n2']}]}]".
