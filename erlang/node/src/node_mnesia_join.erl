%% @doc The steps by which a node gets its Mnesia schema and its tables.
%%
%% Each step either goes on, or says what it waits for and is repeated after a pause. No step
%% waits for ever, and nothing here forces a table to load: that would discard writes.
-module(node_mnesia_join).

-export([run/1, settle/1, lonely/0]).

-define(FIRST_PAUSE_MS, 20).
-define(LAST_PAUSE_MS, 250).
-define(LOAD_SLICE_MS, 1000).
-define(RPC_TIMEOUT_MS, 10000).

%% `apart': what this node joined turned out not to be the cluster; begin again.
-type outcome() :: next | apart | {again, term()}.

%% @doc Returns when this node is a member of the schema and its tables are loaded.
-spec run(node_config:config()) -> ok.
run(Config) ->
    ok = set_dir(Config),
    Started = erlang:monotonic_time(millisecond),
    next = repeat(fun() -> schema(Config, Started) end),
    settle(Config).

%% @doc The part of {@link run/1} that follows once this node has a schema.
-spec settle(node_config:config()) -> ok.
settle(Config = #{tables := Tables}) ->
    Own = node_tables:own(node(), Tables),
    Steps = [fun() -> same_schema(Config) end]
        ++ [fun() -> table(Table, Config) end || Table <- Tables]
        ++ [fun() -> load(Own) end],
    case repeat(fun() -> in_turn(Steps) end) of
        next ->
            node_mnesia:waiting_for(done),
            logger:notice("ready: nodes ~p, tables ~p",
                          [mnesia:system_info(running_db_nodes), mnesia:system_info(tables)]);
        apart ->
            run(Config)
    end.

-spec in_turn([fun(() -> outcome())]) -> outcome().
in_turn([]) ->
    next;
in_turn([Step | Rest]) ->
    case Step() of
        next -> in_turn(Rest);
        Other -> Other
    end.

-spec set_dir(node_config:config()) -> ok.
set_dir(#{mnesia_dir := default}) ->
    ok;
set_dir(#{mnesia_dir := Dir}) ->
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    application:set_env(mnesia, dir, Dir).

-spec repeat(fun(() -> outcome())) -> next | apart.
repeat(Step) ->
    repeat(Step, ?FIRST_PAUSE_MS, none).

-spec repeat(fun(() -> outcome()), pos_integer(), term()) -> next | apart.
repeat(Step, Pause, Before) ->
    case attempt(Step) of
        {again, Reason} ->
            node_mnesia:waiting_for(Reason),
            %% Said once per reason: a node waiting for a dead peer must not fill the disk.
            _ = Reason =:= Before orelse logger:notice("waiting for ~tp", [Reason]),
            timer:sleep(Pause),
            repeat(Step, min(2 * Pause, ?LAST_PAUSE_MS), Reason);
        Outcome ->
            Outcome
    end.

%% Mnesia may be stopped at any moment; to be asked then is no reason to crash.
-spec attempt(fun(() -> outcome())) -> outcome().
attempt(Step) ->
    try Step()
    catch exit:{aborted, Reason} -> {again, {mnesia, Reason}}
    end.

%% ---- schema

-spec schema(node_config:config(), integer()) -> outcome().
schema(Config = #{peers := Peers, schema := Kind, grace_ms := Grace}, Started) ->
    Phases = node_mnesia:phases(Peers),
    GraceOver = erlang:monotonic_time(millisecond) - Started >= Grace,
    case node_join:decide(node(), has_disc_schema(), Phases, GraceOver) of
        restore -> in_phase(restoring, fun start_mnesia/0);
        {join, Members} -> in_phase(joining, fun() -> join(Members, Config) end);
        create -> create(Kind, [Peer || {Peer, Phase} <- maps:to_list(Phases), Phase =/= down]);
        {wait, Reason} -> {again, Reason}
    end.

%% Whether a schema lies on disc, also when it is not started yet.
-spec has_disc_schema() -> boolean().
has_disc_schema() ->
    filelib:is_regular(filename:join(mnesia:system_info(directory), "schema.DAT")).

-spec in_phase(node_join:phase(), fun(() -> outcome())) -> outcome().
in_phase(Phase, Step) ->
    ok = node_mnesia:enter(Phase),
    finish(Step()).

-spec finish(outcome()) -> outcome().
finish(next) ->
    ok = node_mnesia:enter(member),
    next;
finish(Again) ->
    ok = node_mnesia:enter(undecided),
    Again.

-spec create(disc | ram, [node()]) -> outcome().
create(Kind, Others) ->
    case node_mnesia:begin_create() of
        true -> finish(case node_mnesia:claim(Others) of
                           true -> create(Kind);
                           false -> {again, {agreement_of, Others}}
                       end);
        false -> {again, {agreement_of, Others}}
    end.

-spec create(disc | ram) -> outcome().
create(ram) ->
    start_mnesia();
create(disc) ->
    case mnesia:create_schema([node()]) of
        ok -> start_mnesia();
        {error, {_, {already_exists, _}}} -> start_mnesia();
        {error, Reason} -> {again, {create_schema, Reason}}
    end.

-spec start_mnesia() -> outcome().
start_mnesia() ->
    case mnesia:start() of
        ok ->
            %% The schema is a table as well: until it is loaded nothing else can be asked.
            case mnesia:wait_for_tables([schema], ?LOAD_SLICE_MS) of
                ok -> next;
                Other -> {again, {schema, Other}}
            end;
        {error, Reason} ->
            {again, {mnesia, Reason}}
    end.

-spec join([node()], node_config:config()) -> outcome().
join(Members, #{schema := Kind}) ->
    case start_mnesia() of
        next -> merge(Members, Kind);
        Again -> Again
    end.

-spec merge([node()], disc | ram) -> outcome().
merge(Members, Kind) ->
    case mnesia:change_config(extra_db_nodes, Members) of
        {ok, Joined} ->
            %% Nodes that were connected before are not among those it answers with.
            case Joined =/= [] orelse Members -- mnesia:system_info(running_db_nodes) =/= Members of
                true -> keep(Kind);
                false -> {again, {join, Members}}
            end;
        {error, Reason} -> forget(hd(Members), Reason)
    end.

%% The joined schema goes to disc, so that a restart finds it there.
-spec keep(disc | ram) -> outcome().
keep(ram) ->
    next;
keep(disc) ->
    case mnesia:change_table_copy_type(schema, node(), disc_copies) of
        {atomic, ok} -> next;
        {aborted, {already_exists, schema, _, disc_copies}} -> next;
        {aborted, Reason} -> {again, {schema_to_disc, Reason}}
    end.

%% The cluster remembers a disc schema of this node, but its directory is empty now (a lost
%% volume): the old copies can't come back, so the cluster is told to forget them.
-spec forget(node(), term()) -> outcome().
forget(Member, Reason = {merge_schema_failed, _}) ->
    stopped = mnesia:stop(),
    try erpc:call(Member, mnesia, del_table_copy, [schema, node()], ?RPC_TIMEOUT_MS) of
        _ -> {again, {join, Reason}}
    catch
        _:_ -> {again, {join, Reason}}
    end;
forget(_Member, Reason) ->
    {again, {join, Reason}}.

%% A node that started cut off from its peers may have created a schema while another node
%% did so, too. Schemas do not merge; but one that holds nothing can be given up. Of two
%% empty ones the one of the lower name stays.
-spec same_schema(node_config:config()) -> outcome().
same_schema(#{peers := Peers}) ->
    Members = [Peer || {Peer, member} <- maps:to_list(node_mnesia:phases(Peers))],
    case lonely() andalso lists:any(fun prevails/1, Members) of
        false ->
            next;
        true ->
            logger:notice("giving up an empty schema for the one of ~tp", [Members]),
            ok = node_mnesia:enter(undecided),
            stopped = mnesia:stop(),
            ok = mnesia:delete_schema([node()]),
            apart
    end.

%% @doc Whether this node shares its schema with nobody and keeps no table in it.
-spec lonely() -> boolean().
lonely() ->
    mnesia:system_info(db_nodes) =:= [node()] andalso mnesia:system_info(tables) =:= [schema].

-spec prevails(node()) -> boolean().
prevails(Peer) ->
    Peer < node() orelse
        try erpc:call(Peer, ?MODULE, lonely, [], ?RPC_TIMEOUT_MS) =:= false
        catch _:_ -> false
        end.

%% ---- tables

-spec table(node_config:table(), node_config:config()) -> outcome().
table(Table = {Name, _}, Config) ->
    case {exists(Name), node_tables:storage(node(), Table)} of
        {true, none} -> next;
        {true, Storage} -> own_copy(Name, Storage);
        {false, _} -> missing(Table, Config)
    end.

-spec exists(atom()) -> boolean().
exists(Name) ->
    lists:member(Name, mnesia:system_info(tables)).

-spec own_copy(atom(), atom()) -> outcome().
own_copy(Name, Storage) ->
    case mnesia:table_info(Name, storage_type) of
        unknown -> done(Name, mnesia:add_table_copy(Name, node(), Storage));
        _ -> next
    end.

-spec missing(node_config:table(), node_config:config()) -> outcome().
missing(Table = {Name, _}, #{schema := Kind}) ->
    Absent = node_tables:placed(Table) -- members(Kind),
    case {Absent, node_tables:creator(Table) =:= node()} of
        {[], true} -> done(Name, mnesia:create_table(Name, node_tables:options(Table)));
        {[], false} -> {again, {table, Name, {created_by, node_tables:creator(Table)}}};
        {_, _} -> {again, {table, Name, {nodes, Absent}}}
    end.

%% Nodes that can hold a copy now: running, and with their schema where it belongs.
-spec members(disc | ram) -> [node()].
members(Kind) ->
    Running = mnesia:system_info(running_db_nodes),
    case Kind of
        ram -> Running;
        disc -> [Node || Node <- mnesia:table_info(schema, disc_copies), lists:member(Node, Running)]
    end.

-spec done(atom(), {atomic, ok} | {aborted, term()}) -> outcome().
done(_Name, {atomic, ok}) -> next;
done(Name, {aborted, {already_exists, Name}}) -> next;
done(Name, {aborted, {already_exists, Name, _}}) -> next;
done(Name, {aborted, Reason}) -> {again, {table, Name, Reason}}.

-spec load([atom()]) -> outcome().
load(Names) ->
    case mnesia:wait_for_tables(Names, ?LOAD_SLICE_MS) of
        ok -> next;
        {timeout, Missing} -> {again, {tables, Missing}};
        {error, Reason} -> {again, {tables, Reason}}
    end.
