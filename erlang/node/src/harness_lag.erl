%% @doc Replication lag: writers on the source's side, watchers on the replica's, and the
%% buffer of what both recorded. All of them belong to the process that opened the lag.
-module(harness_lag).

-export([open/0, watch/2, write/2, take/1, stop/1, ended/2, restart/2, resolution/1]).

-export_type([lag/0, child/0, order/0, taken/0]).

-define(RECORDS, harness_probe_lag).
-define(BUFFER, 50000).
-define(MAX_RATE, 500).

-define(POLL_NS, 2000000).
-define(FIRST_BACKOFF_MS, 1).
-define(LAST_BACKOFF_MS, 50).
-define(RESUBSCRIBE_MS, 200).

-type context() :: transaction | sync_transaction | async_dirty | sync_dirty.
-type key() :: {Source :: node(), context()}.
-type order() :: #{table := atom(), contexts := [context()], rate := number()}.
-type taken() :: #{now := integer(), acks := list(), seen := list(), written := list(),
                   applied := list(), dropped := non_neg_integer()}.
-type child() :: {watch, Tab :: atom()} | {write, Tab :: atom(), context(), Rate :: number()}.
-opaque lag() :: #{child() => pid() | ended}.

%% ==== Writers and watchers as a whole =================================================

-spec open() -> lag().
open() ->
    _ = ets:new(?RECORDS, [named_table, ordered_set, public, {write_concurrency, true}]),
    #{}.

%% @doc Watches the own copies of exactly these tables.
-spec watch([atom()], lag()) -> lag().
watch(Tabs, Lag) ->
    keep([{watch, Tab} || Tab <- Tabs] ++ [Child || {write, _, _, _} = Child <- maps:keys(Lag)], Lag).

%% @doc Exactly these writers of the table: one per context.
-spec write(order(), lag()) -> lag().
write(#{table := Tab, contexts := Contexts, rate := Rate}, Lag) ->
    Others = [Child || Child <- maps:keys(Lag), not is_writer_of(Tab, Child)],
    keep([{write, Tab, Context, min(Rate, ?MAX_RATE)} || Context <- Contexts] ++ Others, Lag).

-spec is_writer_of(atom(), child()) -> boolean().
is_writer_of(Tab, {write, Tab, _, _}) -> true;
is_writer_of(_, _) -> false.

%% @doc Hands out what was recorded since the last call. `written' is the last number
%% acknowledged to the writers here, `applied' the number that each source's row holds
%% in the own copy now: their difference over nodes is the backlog.
-spec take(lag()) -> taken().
take(Lag) ->
    {Records, Dropped} = drain(),
    #{
        now => clock(),
        acks => [Ack || {ack, Ack} <- Records],
        seen => [Seen || {seen, Seen} <- Records],
        written => ets:select(?RECORDS, [{{{written, '$1', '$2'}, '$3'}, [], [{{'$1', '$2', '$3'}}]}]),
        applied => [{Tab, Source, Context, Seq} || {watch, Tab} <- maps:keys(Lag),
                                                   {{Source, Context}, Seq} <- harness_copies:rows(Tab)],
        dropped => Dropped
    }.

%% @doc Ends all of them and forgets what they recorded.
-spec stop(lag()) -> lag().
stop(Lag) ->
    Ended = keep([], Lag),
    true = ets:delete_all_objects(?RECORDS),
    Ended.

%% @doc Which one it was that ended, for restart/2.
-spec ended(pid(), lag()) -> {child(), lag()} | none.
ended(Pid, Lag) ->
    case [Child || {Child, Running} <- maps:to_list(Lag), Running =:= Pid] of
        [Child] -> {Child, Lag#{Child := ended}};
        [] -> none
    end.

%% @doc Starts it again, if it is still wanted.
-spec restart(child(), lag()) -> lag().
restart(Child, Lag) ->
    case Lag of
        #{Child := ended} -> Lag#{Child := start(Child)};
        _ -> Lag
    end.

%% Makes the children exactly these.
-spec keep([child()], lag()) -> lag().
keep(Wanted, Lag) ->
    lists:foreach(fun kill/1, maps:values(maps:without(Wanted, Lag))),
    Missing = lists:usort(Wanted) -- maps:keys(Lag),
    maps:merge(maps:with(Wanted, Lag), maps:from_list([{Child, start(Child)} || Child <- Missing])).

-spec start(child()) -> pid().
start({watch, Tab}) ->
    Owner = self(),
    spawn_link(fun() -> watcher(Tab, Owner) end);
start({write, Tab, Context, Rate}) ->
    spawn_link(fun() -> writer(Tab, Context, Rate) end).

-spec kill(pid() | ended) -> ok.
kill(ended) ->
    ok;
kill(Pid) ->
    unlink(Pid),
    exit(Pid, kill),
    ok.

%% ==== Records =========================================================================

-spec clock() -> integer().
clock() ->
    os:perf_counter(nanosecond).

-spec record(term()) -> ok.
record(Record) ->
    case ets:info(?RECORDS, size) < ?BUFFER of
        true -> true = ets:insert(?RECORDS, {erlang:unique_integer([monotonic]), Record}), ok;
        false -> _ = ets:update_counter(?RECORDS, dropped, 1, {dropped, 0}), ok
    end.

-spec drain() -> {Records :: [term()], Dropped :: non_neg_integer()}.
drain() ->
    Rows = ets:select(?RECORDS, [{{'$1', '$2'}, [{is_integer, '$1'}], [{{'$1', '$2'}}]}]),
    lists:foreach(fun({Number, _}) -> ets:delete(?RECORDS, Number) end, Rows),
    Dropped = case ets:take(?RECORDS, dropped) of
                  [{dropped, Count}] -> Count;
                  [] -> 0
              end,
    {[Record || {_, Record} <- Rows], Dropped}.

%% ==== The source's side ===============================================================

%% One write at a time, on a grid of the rate; a write that took longer than its slot skips
%% slots instead of catching up.
-spec writer(atom(), context(), number()) -> no_return().
writer(Tab, Context, Rate) ->
    %% Goes on where the own copy stands, so that after a restart of this node
    %% the numbers on the replicas still only rise.
    First = case [Seq || {{Source, Of}, Seq} <- harness_copies:rows(Tab), Source =:= node(), Of =:= Context] of
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
                   true = ets:insert(?RECORDS, {{written, Tab, Context}, Seq}),
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

%% ==== The replica's side ==============================================================

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
    case harness_mnesia:subscribe({table, Tab, simple}) of
        {ok, Ref} ->
            watcher_loop(Watch#watch{subscr = Ref});
        no ->
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
    case harness_copies:storage(Tab) =:= dets andalso dets:lookup(Tab, Key) of
        [{_, _, Seq}] -> Seq;
        _ -> 0
    end.
