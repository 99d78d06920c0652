%% @doc The harness's instrument inside a node: what happened when, and what lies in the
%% node's own copies.
%%
%% One module, without any other module of ours, so that `code:load_binary/3' brings it into
%% a node that never heard of it. Everything is bounded: events are a ring, lag records a
%% buffer with a count of what it dropped, writers hold to a rate with one write outstanding.
%% Times are `os:perf_counter(nanosecond)': CLOCK_MONOTONIC, which all containers of a host
%% share with each other and with the harness.
%%
%% Parts, in this order: events, views, Mnesia set-up, contents of the own copies, lag.
-module(harness_probe).
-behaviour(gen_server).

-export([version/0, clock/0, start/1, stop/0, events/1]).
-export([views/0]).
-export([ensure_mnesia/2, ensure_table/2, tables_loaded/2]).
-export([append/3, copy/2, digest/1, content/2, updates/1]).
-export([lag_watch/1, lag_write/1, lag_take/0, lag_stop/0, resolution/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([event/0, context/0, cont/0]).

-define(VERSION, <<"1">>).

-define(EVENTS, harness_probe_events).
-define(RING, 10000).
%% A node under load reports busy ports thousands of times a second; one per peer and this
%% time says as much and leaves the ring to the rest.
-define(BUSY_GAP_NS, 100000000).
%% How fast a start of Mnesia is noticed; asking costs one look into an ets table.
-define(MNESIA_POLL_MS, 20).

-define(LAG, harness_probe_lag).
-define(LAG_BUFFER, 50000).
-define(POLL_NS, 2000000).
-define(FIRST_BACKOFF_MS, 1).
-define(LAST_BACKOFF_MS, 50).
-define(RESUBSCRIBE_MS, 200).
-define(MAX_RATE, 500).

-define(BATCH_IDS, 50000).
-define(BATCH_NS, 1000000000).
-define(RPC_TIMEOUT_MS, 5000).

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
-type context() :: transaction | sync_transaction | async_dirty | sync_dirty.
-type key() :: {Source :: node(), context()}.
-type cont() :: start | {'after', Key :: term()}.
-type child() :: {watch, Tab :: atom()} | {write, Tab :: atom(), context(), Rate :: number()}.

-record(state, {
    seq :: integer(),
    %% The mnesia_subscr we are subscribed to, with our monitor of it.
    mnesia = none :: none | {pid(), reference()},
    busy = #{} :: #{node() => integer()},
    children = #{} :: #{child() => pid()}
}).
-type state() :: #state{}.

%% ==== Events ==========================================================================

-spec version() -> binary().
version() ->
    ?VERSION.

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

-spec init([]) -> {ok, state()}.
init([]) ->
    process_flag(trap_exit, true),
    %% Not the caller's: that one may live on another node, behind a cut.
    true = group_leader(whereis(init), self()),
    _ = ets:new(?EVENTS, [named_table, ordered_set, protected]),
    _ = ets:new(?LAG, [named_table, ordered_set, public, {write_concurrency, true}]),
    ok = net_kernel:monitor_nodes(true, [nodedown_reason]),
    %% There is one system monitor per node: another tool's is not taken away.
    _ = case erlang:system_monitor() of
            undefined -> erlang:system_monitor(self(), [busy_dist_port]);
            _ -> ok
        end,
    self() ! mnesia,
    {ok, #state{seq = clock()}}.

-spec terminate(term(), state()) -> ok.
terminate(_Reason, #state{children = Children}) ->
    lists:foreach(fun end_child/1, maps:values(Children)).

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()}.
handle_call({watch, Tabs}, _From, State) ->
    Others = [Child || {write, _, _, _} = Child <- maps:keys(State#state.children)],
    {reply, ok, keep([{watch, Tab} || Tab <- Tabs] ++ Others, State)};
handle_call({write, Tab, Contexts, Rate}, _From, State) ->
    Others = [Child || Child <- maps:keys(State#state.children), not is_writer_of(Tab, Child)],
    {reply, ok, keep([{write, Tab, Context, Rate} || Context <- Contexts] ++ Others, State)};
handle_call(take, _From, State) ->
    {reply, take(maps:keys(State#state.children)), State};
handle_call(lag_stop, _From, State) ->
    Ended = keep([], State),
    true = ets:delete_all_objects(?LAG),
    {reply, ok, Ended}.

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
handle_info({'DOWN', Ref, process, _, _}, State = #state{mnesia = {_, Ref}}) ->
    self() ! mnesia,
    {noreply, log({mnesia_stopped}, State#state{mnesia = none})};
handle_info({'EXIT', Pid, Reason}, State) ->
    {noreply, child_ended(Pid, Reason, State)};
handle_info({restart, Child}, State) ->
    {noreply, keep([Child | maps:keys(State#state.children)], State)};
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
%% are seen; it is watched, because a subscription ends with it.
-spec subscribe(state()) -> state().
subscribe(State) ->
    case {whereis(mnesia_subscr), subscribed(system)} of
        {Pid, true} when is_pid(Pid) ->
            log({mnesia_started}, State#state{mnesia = {Pid, monitor(process, Pid)}});
        _ ->
            _ = erlang:send_after(?MNESIA_POLL_MS, self(), mnesia),
            State
    end.

-spec subscribed(system | {table, atom(), simple}) -> boolean().
subscribed(What) ->
    whereis(mnesia_subscr) =/= undefined andalso
        try mnesia:subscribe(What) of
            {ok, _} -> true;
            {error, _} -> false
        catch
            exit:_ -> false
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

%% ==== Views ===========================================================================

%% @doc What this node believes at this moment. Asks no other node and never blocks on one.
-spec views() -> #{atom() => term()}.
views() ->
    Running = is_running(),
    #{
        node => node(),
        now => clock(),
        nodes => nodes(),
        hidden => nodes(hidden),
        mnesia => Running,
        running_db_nodes => system_info(Running, running_db_nodes),
        tables => maps:from_list([{Tab, table_view(Tab)} || Tab <- system_info(Running, tables), Tab =/= schema]),
        dist => maps:from_list([{Peer, link_view(Link)} || {Peer, Link} <- erlang:system_info(dist_ctrl)]),
        memory => erlang:memory(total),
        run_queue => erlang:statistics(total_run_queue_lengths),
        processes => erlang:system_info(process_count)
    }.

%% A foreign node need not even have Mnesia's code.
-spec is_running() -> yes | no | starting | stopping.
is_running() ->
    try mnesia:system_info(is_running)
    catch _:_ -> no
    end.

-spec system_info(atom(), atom()) -> [atom()].
system_info(yes, Item) ->
    try mnesia:system_info(Item)
    catch exit:_ -> []
    end;
system_info(_, _) ->
    [].

-spec table_view(atom()) -> #{atom() => term()}.
table_view(Tab) ->
    maps:put(size, own_size(Tab),
             maps:from_list([{Item, table_info(Tab, From)}
                             || {Item, From} <- [{where_to_write, where_to_write}, {where_to_read, where_to_read},
                                                 {load_node, load_node}, {storage, storage_type}]])).

-spec table_info(atom(), atom()) -> term().
table_info(Tab, Item) ->
    try mnesia:table_info(Tab, Item)
    catch exit:_ -> unknown
    end.

%% Not mnesia:table_info(Tab, size): without a copy here that asks another node.
-spec own_size(atom()) -> non_neg_integer().
own_size(Tab) ->
    Size = case own_copy(Tab) of
               ets -> ets:info(Tab, size);
               dets -> dets:info(Tab, size);
               none -> 0
           end,
    case is_integer(Size) of
        true -> Size;
        false -> 0
    end.

-spec link_view(port() | pid()) -> #{atom() => non_neg_integer()}.
link_view(Port) when is_port(Port) ->
    Queue = case erlang:port_info(Port, queue_size) of
                {queue_size, Bytes} -> Bytes;
                undefined -> 0
            end,
    Counters = case inet:getstat(Port, [send_pend, send_oct, send_cnt, recv_oct, recv_cnt]) of
                   {ok, Values} -> Values;
                   {error, _} -> []
               end,
    Names = #{send_pend => pend, send_oct => sent_bytes, send_cnt => sent_packets,
              recv_oct => received_bytes, recv_cnt => received_packets},
    maps:from_list([{queue, Queue} | [{maps:get(Name, Names), Value} || {Name, Value} <- Counters]]);
link_view(_TlsProcess) ->
    #{}.

%% ==== Mnesia set-up of foreign nodes ==================================================

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

%% ==== Contents of the own copies ======================================================

%% @doc Appends an operation to the list under `Key'. Inside a Mnesia activity:
%% `mnesia:activity(Context, fun harness_probe:append/3, [Tab, Key, OpId])'. The read takes
%% the write lock, so that two appends under transactions can't both build on one list.
-spec append(atom(), term(), integer()) -> ok.
append(Tab, Key, OpId) ->
    Ids = case mnesia:read(Tab, Key, write) of
              [{_, _, Present}] -> Present;
              [] -> []
          end,
    mnesia:write(Tab, {Tab, Key, Ids ++ [OpId]}, write).

%% Where the copy of this node lies. Never the table's access functions: they would read
%% another node's copy when there is none here, or when it is not loaded.
-spec own_copy(atom()) -> ets | dets | none.
own_copy(Tab) ->
    case table_info(Tab, storage_type) of
        disc_only_copies ->
            case dets:info(Tab, type) of
                undefined -> none;
                _ -> dets
            end;
        Storage when Storage =:= ram_copies; Storage =:= disc_copies ->
            case ets:info(Tab, type) of
                undefined -> none;
                _ -> ets
            end;
        _ ->
            none
    end.

%% @doc Operation ids in the own copy, big-endian 64 bits each, batch by batch; to be called
%% again with what it returned until that is `done'. A batch ends at 50,000 ids (unless one row alone
%% has more) or after a second. For a table at rest: an entry deleted between two batches
%% is an error, since what follows it would be unknown.
-spec copy(atom(), cont()) -> {binary(), cont() | done} | {error, no_copy | changed}.
copy(Tab, Cont) ->
    case own_copy(Tab) of
        none ->
            {error, no_copy};
        Kind ->
            try
                First = case Cont of
                            start -> Kind:first(Tab);
                            {'after', Key} -> Kind:next(Tab, Key)
                        end,
                copy(Kind, Tab, First, Cont, 0, [], clock() + ?BATCH_NS)
            catch
                error:badarg -> {error, changed}
            end
    end.

-spec copy(ets | dets, atom(), term(), cont(), non_neg_integer(), [binary()], integer()) ->
    {binary(), cont() | done}.
copy(_Kind, _Tab, '$end_of_table', _Before, _Count, Acc, _Deadline) ->
    {iolist_to_binary(lists:reverse(Acc)), done};
copy(Kind, Tab, Key, Before, Count, Acc, Deadline) ->
    Packed = << <<Id:64>> || Row <- Kind:lookup(Tab, Key), Id <- ids(Row) >>,
    Total = Count + byte_size(Packed) div 8,
    Full = Total > ?BATCH_IDS orelse clock() > Deadline,
    case Full andalso Acc =/= [] of
        true -> {iolist_to_binary(lists:reverse(Acc)), Before};
        false -> copy(Kind, Tab, Kind:next(Tab, Key), {'after', Key}, Total, [Packed | Acc], Deadline)
    end.

-spec ids(tuple()) -> [non_neg_integer()].
ids({_, Id, _}) when is_integer(Id), Id >= 0 -> [Id];
ids({_, {key, _}, Ids}) when is_list(Ids) -> Ids;
ids(_) -> [].

%% @doc Number of rows in the own copy and a digest of them that does not depend on their
%% order nor on the OTP version: the sum of the rows' MD5 modulo 2^128.
-spec digest(atom()) -> {non_neg_integer(), binary()} | {error, no_copy}.
digest(Tab) ->
    case own_copy(Tab) of
        none ->
            {error, no_copy};
        Kind ->
            {Count, Sum} = Kind:foldl(
                fun(Row, {N, Acc}) ->
                    <<Hash:128>> = erlang:md5(term_to_binary(Row, [{minor_version, 2}, deterministic])),
                    {N + 1, (Acc + Hash) band ((1 bsl 128) - 1)}
                end, {0, 0}, Tab),
            {Count, <<Sum:128>>}
    end.

%% @doc The rows of these keys in the own copy.
-spec content(atom(), [term()]) -> [tuple()] | {error, no_copy}.
content(Tab, Keys) ->
    case own_copy(Tab) of
        none -> {error, no_copy};
        Kind -> lists:append([Kind:lookup(Tab, Key) || Key <- Keys])
    end.

%% @doc What was appended under each `{key, N}' in the own copy.
-spec updates(atom()) -> [{term(), [integer()]}] | {error, no_copy}.
updates(Tab) ->
    case own_copy(Tab) of
        none -> {error, no_copy};
        Kind -> lists:sort(Kind:select(Tab, [{{Tab, {key, '$1'}, '$2'}, [], [{{'$1', '$2'}}]}]))
    end.

%% ==== Lag =============================================================================

%% @doc Watches the own copies of exactly these probe tables. The second name is the table
%% the harness reports them under; it is of no use here.
-spec lag_watch([{ProbeTab :: atom(), ReportedTab :: atom()}]) -> ok.
lag_watch(Tabs) ->
    gen_server:call(?MODULE, {watch, [Tab || {Tab, _} <- Tabs]}).

%% @doc Writes to a probe table, one process per context. No context: no writer any more.
-spec lag_write(#{table := atom(), contexts := [context()], rate := number()}) -> ok.
lag_write(#{table := Tab, contexts := Contexts, rate := Rate}) when Rate > 0 ->
    gen_server:call(?MODULE, {write, Tab, Contexts, min(Rate, ?MAX_RATE)}).

%% @doc Hands out what was recorded since the last call. `written' is the last number
%% acknowledged to the writers here, `applied' the number that each source's row holds
%% in the own copy now: their difference over nodes is the backlog.
-spec lag_take() -> #{now := integer(), acks := list(), seen := list(), written := list(),
                      applied := list(), dropped := non_neg_integer()}.
lag_take() ->
    gen_server:call(?MODULE, take).

-spec lag_stop() -> ok.
lag_stop() ->
    gen_server:call(?MODULE, lag_stop).

-spec is_writer_of(atom(), child()) -> boolean().
is_writer_of(Tab, {write, Tab, _, _}) -> true;
is_writer_of(_, _) -> false.

%% Makes the running children exactly these.
-spec keep([child()], state()) -> state().
keep(Wanted, State = #state{children = Children}) ->
    Running = maps:with(Wanted, Children),
    lists:foreach(fun end_child/1, maps:values(maps:without(Wanted, Children))),
    New = maps:from_list([{Child, start_child(Child)} || Child <- Wanted, not is_map_key(Child, Running)]),
    State#state{children = maps:merge(Running, New)}.

-spec start_child(child()) -> pid().
start_child({watch, Tab}) ->
    Owner = self(),
    spawn_link(fun() -> watcher(Tab, Owner) end);
start_child({write, Tab, Context, Rate}) ->
    spawn_link(fun() -> writer(Tab, Context, Rate) end).

-spec end_child(pid()) -> ok.
end_child(Pid) ->
    unlink(Pid),
    exit(Pid, kill),
    ok.

-spec child_ended(pid(), term(), state()) -> state().
child_ended(Pid, Reason, State = #state{children = Children}) ->
    case [Child || {Child, Running} <- maps:to_list(Children), Running =:= Pid] of
        [Child] ->
            _ = erlang:send_after(?RESUBSCRIBE_MS, self(), {restart, Child}),
            log({mnesia_error, text("~p ended: ~p", [Child, Reason])},
                State#state{children = maps:remove(Child, Children)});
        [] ->
            State
    end.

-spec record(term()) -> ok.
record(Record) ->
    case ets:info(?LAG, size) < ?LAG_BUFFER of
        true -> true = ets:insert(?LAG, {erlang:unique_integer([monotonic]), Record}), ok;
        false -> _ = ets:update_counter(?LAG, dropped, 1, {dropped, 0}), ok
    end.

-spec drain() -> {Records :: [term()], Dropped :: non_neg_integer()}.
drain() ->
    Rows = ets:select(?LAG, [{{'$1', '$2'}, [{is_integer, '$1'}], [{{'$1', '$2'}}]}]),
    lists:foreach(fun({Number, _}) -> ets:delete(?LAG, Number) end, Rows),
    Dropped = case ets:take(?LAG, dropped) of
                  [{dropped, Count}] -> Count;
                  [] -> 0
              end,
    {[Record || {_, Record} <- Rows], Dropped}.

-spec take([child()]) -> map().
take(Children) ->
    {Records, Dropped} = drain(),
    #{
        now => clock(),
        acks => [Ack || {ack, Ack} <- Records],
        seen => [Seen || {seen, Seen} <- Records],
        written => ets:select(?LAG, [{{{written, '$1', '$2'}, '$3'}, [], [{{'$1', '$2', '$3'}}]}]),
        applied => [{Tab, Source, Context, Seq} || {watch, Tab} <- Children,
                                                   {{Source, Context}, Seq} <- rows(Tab)],
        dropped => Dropped
    }.

-spec rows(atom()) -> [{key(), integer()}].
rows(Tab) ->
    case own_copy(Tab) of
        none -> [];
        Kind -> Kind:select(Tab, [{{Tab, '$1', '$2'}, [], [{{'$1', '$2'}}]}])
    end.

%% ---- The source side

%% One write at a time, on a grid of the rate; a write that took longer than its slot skips
%% slots instead of catching up.
-spec writer(atom(), context(), number()) -> no_return().
writer(Tab, Context, Rate) ->
    %% Goes on where the own copy stands, so that after a restart of this node
    %% the numbers on the replicas still only rise.
    First = case [Seq || {{Source, Of}, Seq} <- rows(Tab), Source =:= node(), Of =:= Context] of
                [Seq] -> Seq + 1;
                [] -> 1
            end,
    writer(Tab, Context, round(1.0e9 / Rate), clock(), First).

-spec writer(atom(), context(), pos_integer(), integer(), pos_integer()) -> no_return().
writer(Tab, Context, Period, Slot, Seq) ->
    timer:sleep(max(0, (Slot - clock() + 999999) div 1000000)),
    Sent = clock(),
    Result = write(Tab, Context, Seq),
    Acked = clock(),
    Next = case Result of
               ok ->
                   ok = record({ack, {Tab, Context, Seq, Sent, Acked}}),
                   true = ets:insert(?LAG, {{written, Tab, Context}, Seq}),
                   Seq + 1;
               failed ->
                   %% Refused, or undecided: a number is never used twice.
                   Seq + 1
           end,
    writer(Tab, Context, Period, Slot + Period * (1 + max(0, Acked - Slot) div Period), Next).

-spec write(atom(), context(), pos_integer()) -> ok | failed.
write(Tab, Context, Seq) ->
    Row = {Tab, {node(), Context}, Seq},
    try mnesia:activity(Context, fun() -> mnesia:write(Tab, Row, write) end)
    catch _:_ -> failed
    end.

%% ---- The replica side

-record(watch, {
    tab :: atom(),
    owner :: pid(),
    subscr = none :: none | reference(),
    %% The highest number announced for a key and not yet seen in the own copy.
    pending = #{} :: #{key() => integer()},
    %% The highest number seen, so that nothing is reported twice.
    seen = #{} :: #{key() => integer()},
    backoff = ?FIRST_BACKOFF_MS :: pos_integer()
}).
-type watch() :: #watch{}.

%% Mnesia announces a write just before the row is readable, so the announcement only tells
%% when to begin looking: hard, for 2 ms at most, because that costs a core; then with pauses.
-spec watcher(atom(), pid()) -> no_return().
watcher(Tab, Owner) ->
    %% mnesia_subscr links its subscribers and takes them along when Mnesia stops.
    process_flag(trap_exit, true),
    watcher_loop(#watch{tab = Tab, owner = Owner}).

-spec watcher_loop(watch()) -> no_return().
watcher_loop(Watch = #watch{subscr = none, tab = Tab}) ->
    case {whereis(mnesia_subscr), subscribed({table, Tab, simple})} of
        {Pid, true} when is_pid(Pid) -> watcher_loop(Watch#watch{subscr = monitor(process, Pid)});
        _ ->
            receive
                Message -> watcher_loop(announced(Message, Watch))
            after ?RESUBSCRIBE_MS ->
                watcher_loop(Watch)
            end
    end;
watcher_loop(Watch = #watch{pending = Pending}) when map_size(Pending) =:= 0 ->
    receive
        Message -> watcher_loop(look(announced(Message, Watch)))
    end;
watcher_loop(Watch = #watch{backoff = Backoff}) ->
    receive
        Message -> watcher_loop(look(announced(Message, Watch)))
    after Backoff ->
        Looked = look_once(Watch),
        watcher_loop(Looked#watch{backoff = min(2 * Backoff, ?LAST_BACKOFF_MS)})
    end.

-spec announced(term(), watch()) -> watch().
announced({mnesia_table_event, {write, {Tab, Key = {Source, _}, Seq}, _}}, Watch = #watch{tab = Tab})
  when Source =/= node() ->
    Watch#watch{pending = maps:put(Key, Seq, Watch#watch.pending), backoff = ?FIRST_BACKOFF_MS};
announced({'DOWN', Ref, process, _, _}, Watch = #watch{subscr = Ref}) ->
    Watch#watch{subscr = none, pending = #{}};
announced({'EXIT', Owner, Reason}, #watch{owner = Owner}) ->
    exit(Reason);
announced(_, Watch) ->
    Watch.

-spec look(watch()) -> watch().
look(Watch) ->
    look_until(clock() + ?POLL_NS, Watch).

-spec look_until(integer(), watch()) -> watch().
look_until(Deadline, Watch) ->
    Looked = #watch{pending = Pending} = look_once(Watch),
    case map_size(Pending) =:= 0 orelse clock() > Deadline of
        true -> Looked;
        false -> look_until(Deadline, Looked)
    end.

-spec look_once(watch()) -> watch().
look_once(Watch = #watch{pending = Pending}) ->
    maps:fold(fun look_at/3, Watch, Pending).

-spec look_at(key(), integer(), watch()) -> watch().
look_at(Key = {Source, Context}, Seq, Watch = #watch{tab = Tab, pending = Pending, seen = Seen}) ->
    Present = present(Tab, Key),
    Now = clock(),
    case Present >= Seq of
        true ->
            _ = maps:get(Key, Seen, none) =:= Present orelse
                record({seen, {Tab, Source, Context, Present, Now}}),
            Watch#watch{pending = maps:remove(Key, Pending), seen = Seen#{Key => Present}};
        false ->
            Watch
    end.

%% @doc Nanoseconds from one look of a watcher at the own copy to the next: no lag is told
%% finer than this. Looks for a number that never comes, for as long as a watcher may.
-spec resolution(atom()) -> pos_integer().
resolution(Tab) ->
    Began = clock(),
    Never = #watch{tab = Tab, owner = self(), pending = #{{node(), transaction} => 1 bsl 62}},
    Looks = looks(Began + ?POLL_NS, Never, 0),
    max(1, (clock() - Began) div Looks).

-spec looks(integer(), watch(), non_neg_integer()) -> pos_integer().
looks(Deadline, Watch, Looks) ->
    _ = look_once(Watch),
    case clock() > Deadline of
        true -> Looks + 1;
        false -> looks(Deadline, Watch, Looks + 1)
    end.

%% The number in the own copy. The storage is found out at each look: a table may be moved
%% between kinds, and a copy that is being loaded is not there yet.
-spec present(atom(), key()) -> integer().
present(Tab, Key) ->
    try ets:lookup(Tab, Key) of
        [{_, _, Seq}] -> Seq;
        [] -> 0
    catch
        error:badarg -> present_on_disc(Tab, Key)
    end.

-spec present_on_disc(atom(), key()) -> integer().
present_on_disc(Tab, Key) ->
    case own_copy(Tab) =:= dets andalso dets:lookup(Tab, Key) of
        [{_, _, Seq}] -> Seq;
        _ -> 0
    end.
