%% @doc Brings this node's Mnesia into the cluster: schema first, then tables.
%%
%% The server only keeps what other nodes ask for (our phase) and what operators ask for (why
%% we are not ready); everything that can block happens in `node_mnesia_join', a linked
%% process that repeats its next step with back-off until nothing is left to do. From then
%% on Mnesia is left alone: a chaos run that stops it, or sets master nodes, must not
%% find an application that undoes it.
-module(node_mnesia).
-behaviour(gen_server).

-export([start_link/1, ready/0]).
-export([phases/1, claim/1, enter/1, begin_create/0, waiting_for/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(ASK_TIMEOUT_MS, 1000).
%% A node that let another one create the schema does not create one itself so soon after.
-define(GRANT_MS, 3000).

-record(state, {
    config :: node_config:config(),
    phase = undecided :: node_join:phase(),
    reason = starting :: done | term(),
    granted_at = none :: none | integer()
}).
-type state() :: #state{}.

-spec start_link(node_config:config()) -> {ok, pid()} | {error, term()} | ignore.
start_link(Config) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Config, []).

%% @doc See `node_app:ready/0'; evaluated in the caller, so it answers while Mnesia blocks.
-spec ready() -> ready | {starting, term()}.
ready() ->
    try gen_server:call(?MODULE, progress) of
        {done, Own} ->
            case {mnesia:system_info(is_running), [Tab || Tab <- Own, not loaded(Tab)]} of
                {yes, []} -> ready;
                {yes, Missing} -> {starting, {tables, Missing}};
                {Other, _} -> {starting, {mnesia, Other}}
            end;
        {Reason, _Own} ->
            {starting, Reason}
    catch
        exit:_ -> {starting, node_mnesia}
    end.

-spec loaded(atom()) -> boolean().
loaded(Tab) ->
    try mnesia:table_info(Tab, where_to_read) =:= node()
    catch exit:_ -> false
    end.

%% @doc The phase of each of these nodes, `down' for one that does not answer.
-spec phases([node()]) -> #{node() => node_join:phase() | down}.
phases(Peers) ->
    Connected = [Peer || Peer <- Peers, lists:member(Peer, nodes())],
    {Replies, _Bad} = gen_server:multi_call(Connected, ?MODULE, phase, ?ASK_TIMEOUT_MS),
    maps:merge(maps:from_list([{Peer, down} || Peer <- Peers]), maps:from_list(Replies)).

%% @doc Asks these nodes to let us create the schema; `true' when all of them agree.
-spec claim([node()]) -> boolean().
claim(Nodes) ->
    {Replies, Bad} = gen_server:multi_call(Nodes, ?MODULE, {claim, node()}, ?ASK_TIMEOUT_MS),
    Bad =:= [] andalso lists:all(fun({_, Granted}) -> Granted end, Replies).

-spec enter(node_join:phase()) -> ok.
enter(Phase) ->
    gen_server:call(?MODULE, {enter, Phase}, infinity).

%% @doc Enters `creating' unless another node was just allowed to create the schema. Both
%% decisions are taken by this one process, so they can't cross.
-spec begin_create() -> boolean().
begin_create() ->
    gen_server:call(?MODULE, begin_create, infinity).

%% @doc What {@link ready/0} tells from now on; `done' when nothing is missing any more.
-spec waiting_for(done | term()) -> ok.
waiting_for(Reason) ->
    gen_server:cast(?MODULE, {waiting_for, Reason}).

-spec init(node_config:config()) -> {ok, state()}.
init(Config) ->
    ok = net_kernel:monitor_nodes(true),
    _ = spawn_link(fun() -> node_mnesia_join:run(Config) end),
    {ok, #state{config = Config}}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()}.
handle_call(phase, _From, State) ->
    {reply, phase_now(State), State};
handle_call(progress, _From, State = #state{config = #{tables := Tables}}) ->
    {reply, {State#state.reason, node_tables:own(node(), Tables)}, State};
handle_call({enter, Phase}, _From, State) ->
    {reply, ok, State#state{phase = Phase}};
handle_call({claim, Claimant}, _From, State = #state{phase = undecided}) when Claimant < node() ->
    {reply, true, State#state{granted_at = erlang:monotonic_time(millisecond)}};
handle_call({claim, _Claimant}, _From, State) ->
    {reply, false, State};
handle_call(begin_create, _From, State = #state{phase = undecided, granted_at = Granted}) ->
    case Granted =/= none andalso erlang:monotonic_time(millisecond) - Granted < ?GRANT_MS of
        true -> {reply, false, State};
        false -> {reply, true, State#state{phase = creating}}
    end.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast({waiting_for, Reason}, State) ->
    {noreply, State#state{reason = Reason}}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({nodeup, Node}, State = #state{reason = done, config = Config = #{peers := Peers}}) ->
    %% Only a node that is alone with an empty schema has something to reconsider.
    case lists:member(Node, Peers) andalso mnesia:system_info(is_running) =:= yes
         andalso node_mnesia_join:lonely() of
        true ->
            _ = spawn_link(fun() -> node_mnesia_join:settle(Config) end),
            {noreply, State#state{reason = {schema_of, [Node]}}};
        false ->
            {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

%% A member whose Mnesia was stopped is nobody to join through.
-spec phase_now(state()) -> node_join:phase().
phase_now(#state{phase = member}) ->
    case mnesia:system_info(is_running) of
        yes -> member;
        _ -> restoring
    end;
phase_now(#state{phase = Phase}) ->
    Phase.
