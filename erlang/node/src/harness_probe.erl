%% @doc The harness's instrument inside a node: what happened when, and what lies in the
%% node's own copies.
%%
%% This module is the one name to call. The process behind it keeps the events and owns the
%% writers and watchers of harness_lag; what the other parts tell they tell without it. All
%% parts together (see version/0) need nothing else of ours, so that `code:atomic_load/1'
%% brings them into a node that never heard of them. Everything is bounded: events are a
%% ring, lag records a buffer with a count of what it dropped, writers hold to a rate with
%% one write outstanding. Times are `os:perf_counter(nanosecond)': CLOCK_MONOTONIC, which all
%% containers of a host share with each other and with the harness.
-module(harness_probe).
-behaviour(gen_server).

-export([version/0, clock/0, start/1, stop/0, events/1]).
-export([views/0]).
-export([ensure_mnesia/2, ensure_table/2, tables_loaded/2]).
-export([append/3, copy/2, digest/1, content/2, updates/1]).
-export([lag_watch/1, lag_write/1, lag_take/0, lag_stop/0, resolution/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([event/0]).

-define(PARTS, [?MODULE, harness_copies, harness_lag, harness_mnesia, harness_views]).

-define(EVENTS, harness_probe_events).
-define(RING, 10000).
%% A node under load reports busy ports thousands of times a second; one per peer and this
%% time says as much and leaves the ring to the rest.
-define(BUSY_GAP_NS, 100000000).
%% How fast a start of Mnesia is noticed; asking costs one look into an ets table.
-define(MNESIA_POLL_MS, 20).
%% How long a writer or a watcher that ended stays away.
-define(RESTART_MS, 200).

-type event() ::
    {nodeup, node()}
    | {nodedown, node(), Reason :: term()}
    | {mnesia_up | mnesia_down, node()}
    | {inconsistent_database, Context :: term(), node()}
    | {mnesia_overload, term()}
    | {mnesia_started}
    | {mnesia_stopped}
    | {mnesia_error, binary()}
    | {busy_dist_port, node()}.

-record(state, {
    seq :: integer(),
    %% Our monitor of the mnesia_subscr we are subscribed to.
    mnesia = none :: none | reference(),
    busy = #{} :: #{node() => integer()},
    lag :: harness_lag:lag()
}).
-type state() :: #state{}.

%% ==== The probe itself ================================================================

%% @doc What of each part is loaded: the compiler's checksum of its code (the attribute vsn
%% of its object code). An error where a part is missing.
-spec version() -> #{module() => term()}.
version() ->
    maps:from_list([{Part, proplists:get_value(vsn, Part:module_info(attributes))} || Part <- ?PARTS]).

%% @doc Nanoseconds of the clock all records here are stamped with.
-spec clock() -> integer().
clock() ->
    os:perf_counter(nanosecond).

%% @doc Starts the probe unless it runs. It is linked to nobody: the caller is usually a
%% process that ends with its remote call.
-spec start(#{}) -> ok | {error, term()}.
start(Options) when is_map(Options) ->
    case gen_server:start({local, ?MODULE}, ?MODULE, [], []) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, Reason} -> {error, Reason}
    end.

%% @doc Ends the probe and everything it started.
-spec stop() -> ok.
stop() ->
    try gen_server:stop(?MODULE)
    catch exit:_ -> ok
    end.

%% @doc Events after number `Since' (0: all that are kept), oldest first. Numbers rise by
%% one, also over a restart of the node but for a jump then; a gap means that the ring lost
%% what is missing, or that the probe started anew.
-spec events(integer()) -> {NowNs :: integer(), LastSeq :: integer(), [{integer(), integer(), event()}]}.
events(Since) ->
    Now = clock(),
    case ets:select(?EVENTS, [{{'$1', '_', '_'}, [{'>', '$1', Since}], ['$_']}]) of
        [] -> {Now, Since, []};
        Events -> {Now, element(1, lists:last(Events)), Events}
    end.

%% ==== What the parts tell =============================================================

-spec views() -> #{atom() => term()}.
views() -> harness_views:views().

-spec ensure_mnesia([node()], disc | ram) -> ok | {error, term()}.
ensure_mnesia(Nodes, Kind) -> harness_mnesia:ensure_mnesia(Nodes, Kind).

-spec ensure_table(atom(), [{atom(), term()}]) -> ok | {error, term()}.
ensure_table(Tab, Options) -> harness_mnesia:ensure_table(Tab, Options).

-spec tables_loaded([atom()], timeout()) -> ok | {timeout, [atom()]} | {error, term()}.
tables_loaded(Tabs, Timeout) -> harness_mnesia:tables_loaded(Tabs, Timeout).

-spec append(atom(), term(), integer()) -> ok.
append(Tab, Key, OpId) -> harness_copies:append(Tab, Key, OpId).

-spec copy(atom(), harness_copies:cont()) -> {binary(), harness_copies:cont() | done} | {error, no_copy | changed}.
copy(Tab, Cont) -> harness_copies:copy(Tab, Cont).

-spec digest(atom()) -> {non_neg_integer(), binary()} | {error, no_copy}.
digest(Tab) -> harness_copies:digest(Tab).

-spec content(atom(), [term()]) -> [tuple()] | {error, no_copy}.
content(Tab, Keys) -> harness_copies:content(Tab, Keys).

-spec updates(atom()) -> [{term(), [integer()]}] | {error, no_copy}.
updates(Tab) -> harness_copies:updates(Tab).

%% @doc Watches the own copies of exactly these probe tables. The second name is the table
%% the harness reports them under; it is of no use here.
-spec lag_watch([{ProbeTab :: atom(), ReportedTab :: atom()}]) -> ok.
lag_watch(Tabs) ->
    gen_server:call(?MODULE, {watch, [Tab || {Tab, _} <- Tabs]}).

%% @doc Writes to a probe table, one process per context. No context: no writer any more.
-spec lag_write(harness_lag:order()) -> ok.
lag_write(#{table := _, contexts := _, rate := Rate} = Order) when Rate > 0 ->
    gen_server:call(?MODULE, {write, Order}).

%% @doc Hands out what was recorded since the last call.
-spec lag_take() -> harness_lag:taken().
lag_take() ->
    gen_server:call(?MODULE, lag_take).

-spec lag_stop() -> ok.
lag_stop() ->
    gen_server:call(?MODULE, lag_stop).

-spec resolution(atom()) -> pos_integer().
resolution(Tab) -> harness_lag:resolution(Tab).

%% ==== The process =====================================================================

-spec init([]) -> {ok, state()}.
init([]) ->
    process_flag(trap_exit, true),
    %% Not the caller's: that one may live on another node, behind a cut.
    true = group_leader(whereis(init), self()),
    _ = ets:new(?EVENTS, [named_table, ordered_set, protected]),
    ok = net_kernel:monitor_nodes(true, [nodedown_reason]),
    %% There is one system monitor per node: another tool's is not taken away.
    _ = case erlang:system_monitor() of
            undefined -> erlang:system_monitor(self(), [busy_dist_port]);
            _ -> ok
        end,
    self() ! mnesia,
    {ok, #state{seq = clock(), lag = harness_lag:open()}}.

-spec terminate(term(), state()) -> ok.
terminate(_Reason, #state{lag = Lag}) ->
    _ = harness_lag:stop(Lag),
    ok.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()}.
handle_call({watch, Tabs}, _From, State) ->
    {reply, ok, State#state{lag = harness_lag:watch(Tabs, State#state.lag)}};
handle_call({write, Order}, _From, State) ->
    {reply, ok, State#state{lag = harness_lag:write(Order, State#state.lag)}};
handle_call(lag_take, _From, State) ->
    {reply, harness_lag:take(State#state.lag), State};
handle_call(lag_stop, _From, State) ->
    {reply, ok, State#state{lag = harness_lag:stop(State#state.lag)}}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({nodeup, Node, _}, State) ->
    {noreply, log({nodeup, Node}, State)};
handle_info({nodedown, Node, Info}, State) ->
    {noreply, log({nodedown, Node, proplists:get_value(nodedown_reason, Info, unknown)}, State)};
handle_info({mnesia_system_event, Event}, State) ->
    {noreply, mnesia_event(Event, State)};
handle_info({monitor, _Pid, busy_dist_port, Port}, State) ->
    {noreply, busy(peer_of(Port), clock(), State)};
handle_info(mnesia, State = #state{mnesia = none}) ->
    {noreply, subscribe(State)};
handle_info({'DOWN', Ref, process, _, _}, State = #state{mnesia = Ref}) ->
    self() ! mnesia,
    {noreply, log({mnesia_stopped}, State#state{mnesia = none})};
handle_info({'EXIT', Pid, Reason}, State = #state{lag = Lag}) ->
    case harness_lag:ended(Pid, Lag) of
        {Child, Without} ->
            _ = erlang:send_after(?RESTART_MS, self(), {restart, Child}),
            {noreply, log({mnesia_error, text("~p ended: ~p", [Child, Reason])}, State#state{lag = Without})};
        none ->
            {noreply, State}
    end;
handle_info({restart, Child}, State) ->
    {noreply, State#state{lag = harness_lag:restart(Child, State#state.lag)}};
handle_info(_Message, State) ->
    {noreply, State}.

-spec log(event(), state()) -> state().
log(Event, State = #state{seq = Seq}) ->
    true = ets:insert(?EVENTS, {Seq, clock(), Event}),
    true = ets:delete(?EVENTS, Seq - ?RING),
    State#state{seq = Seq + 1}.

-spec mnesia_event(term(), state()) -> state().
mnesia_event({mnesia_up, Node}, State) -> log({mnesia_up, Node}, State);
mnesia_event({mnesia_down, Node}, State) -> log({mnesia_down, Node}, State);
mnesia_event({inconsistent_database, Context, Node}, State) ->
    log({inconsistent_database, Context, Node}, State);
mnesia_event({mnesia_overload, Details}, State) -> log({mnesia_overload, Details}, State);
mnesia_event({mnesia_error, Format, Args}, State) -> log({mnesia_error, text(Format, Args)}, State);
mnesia_event({mnesia_fatal, Format, Args, _Core}, State) -> log({mnesia_error, text(Format, Args)}, State);
mnesia_event(_, State) -> State.

-spec text(term(), term()) -> binary().
text(Format, Args) ->
    try unicode:characters_to_binary(io_lib:format(Format, Args))
    catch error:_ -> iolist_to_binary(io_lib:format("~0p ~0p", [Format, Args]))
    end.

%% The subscription server is one of the first processes of Mnesia, so events of its start
%% are seen.
-spec subscribe(state()) -> state().
subscribe(State) ->
    case harness_mnesia:subscribe(system) of
        {ok, Ref} ->
            log({mnesia_started}, State#state{mnesia = Ref});
        no ->
            _ = erlang:send_after(?MNESIA_POLL_MS, self(), mnesia),
            State
    end.

-spec busy(node() | unknown, integer(), state()) -> state().
busy(unknown, _Now, State) ->
    State;
busy(Node, Now, State = #state{busy = Busy}) ->
    case Busy of
        #{Node := Before} when Now - Before < ?BUSY_GAP_NS -> State;
        _ -> log({busy_dist_port, Node}, State#state{busy = Busy#{Node => Now}})
    end.

-spec peer_of(port() | pid()) -> node() | unknown.
peer_of(Port) ->
    case lists:keyfind(Port, 2, erlang:system_info(dist_ctrl)) of
        {Node, _} -> Node;
        false -> unknown
    end.
