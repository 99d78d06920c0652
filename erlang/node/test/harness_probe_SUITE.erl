%% The probe, loaded as bytes into nodes that know nothing of this application.
-module(harness_probe_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(cluster, [call/4, name/1, names/1, until/1, until/2]).

-define(P, harness_probe).

suite() -> [{timetrap, {minutes, 8}}].

all() ->
    [ring, idempotent, version, copies, batches, appended, without_mnesia, views, lag, lag_on_disc,
     lag_over_mnesia_restart, lag_is_bounded, lag_after_a_crash, events].

init_per_suite(Config) ->
    Dir = proplists:get_value(priv_dir, Config),
    Peers = [peer_with_probe(Dir, N) || N <- [1, 2]],
    [ok = call(P, ?P, ensure_mnesia, [names([1, 2]), disc]) || P <- Peers],
    [ok = call(P, ?P, ensure_mnesia, [names([1, 2]), disc]) || P <- Peers],
    [First | _] = Peers,
    [ok = call(First, ?P, ensure_table, [Tab, [{Kind, names([1, 2])}]])
     || {Tab, Kind} <- [{ram, ram_copies}, {disc, disc_copies}, {only, disc_only_copies},
                        {lag_ram, ram_copies}, {lag_only, disc_only_copies}], _ <- [once, again]],
    [ok = call(P, ?P, tables_loaded, [[ram, disc, only, lag_ram, lag_only], 60000]) || P <- Peers],
    [{peers, Peers} | Config].

end_per_suite(Config) ->
    [catch cluster:kill(P) || P <- proplists:get_value(peers, Config)].

%% Not linked: the process that prepares the suite ends before the cases begin.
peer_with_probe(Dir, N) ->
    Peer = cluster:bare(N, []),
    unlink(Peer),
    ok = call(Peer, application, load, [mnesia]),
    ok = call(Peer, application, set_env, [mnesia, dir, filename:join(Dir, atom_to_list(name(N)))]),
    true = call(Peer, net_kernel, connect_node, [name(1)]),
    ok = load(Peer),
    ok = call(Peer, ?P, start, [#{}]),
    Peer.

%% All that the node gets of ours, and this only.
load(Peer) ->
    Parts = [{Part, File, Beam} || Part <- maps:keys(?P:version()), {_, Beam, File} <- [code:get_object_code(Part)]],
    call(Peer, code, atomic_load, [Parts]).

peers(Config) -> list_to_tuple(proplists:get_value(peers, Config)).

write(Peer, Context, Rows) ->
    [ok = call(Peer, mnesia, activity, [Context, fun mnesia:write/1, [Row]]) || Row <- Rows].

%% Numbers rise by one; asking again from the last one gives only what is new.
ring(Config) ->
    {First, _} = peers(Config),
    {_, Last, [{Seq, _, _} | _] = Events} = call(First, ?P, events, [0]),
    ?assertEqual(lists:seq(Seq, Last), [S || {S, _, _} <- Events]),
    ?assertMatch({_, Last, []}, call(First, ?P, events, [Last])),
    ?assert(lists:member({mnesia_started}, [E || {_, _, E} <- Events])),
    ?assert(lists:member({nodeup, name(2)}, [E || {_, _, E} <- Events])).

idempotent(Config) ->
    {First, _} = peers(Config),
    Pid = call(First, erlang, whereis, [?P]),
    ok = call(First, ?P, start, [#{}]),
    ?assertEqual(Pid, call(First, erlang, whereis, [?P])),
    ?assertEqual(call(First, erlang, whereis, [init]),
                 element(2, call(First, erlang, process_info, [Pid, group_leader]))),
    ?assert(is_integer(call(First, ?P, clock, []))).

%% It tells of every part whether it is this one.
version(Config) ->
    {First, _} = peers(Config),
    Version = ?P:version(),
    ?assertEqual(Version, call(First, ?P, version, [])),
    Files = filelib:wildcard("harness_*.beam", filename:dirname(code:which(?P))),
    ?assertEqual(lists:sort([filename:basename(File, ".beam") || File <- Files]),
                 lists:sort([atom_to_list(Part) || Part <- maps:keys(Version)])),
    [?assertEqual({ok, {Part, Vsn}}, beam_lib:version(code:which(Part))) || {Part, Vsn} <- maps:to_list(Version)].

copies(Config) ->
    {First, Second} = peers(Config),
    [begin
         write(First, sync_transaction, [{Tab, Id, <<"v">>} || Id <- lists:seq(1, 20)]),
         write(Second, sync_dirty, [{Tab, {key, 1}, [100, 101]}]),
         Digest = {21, _} = call(First, ?P, digest, [Tab]),
         ?assertEqual(Digest, call(Second, ?P, digest, [Tab])),
         ?assertEqual([{1, [100, 101]}], call(First, ?P, updates, [Tab])),
         ?assertEqual([{Tab, 3, <<"v">>}], call(Second, ?P, content, [Tab, [3, 4000]])),
         {Packed, done} = call(First, ?P, copy, [Tab, start]),
         ?assertEqual(lists:seq(1, 20) ++ [100, 101], lists:sort([Id || <<Id:64>> <= Packed])),
         %% Another row, another digest; the same row gone, the first one again.
         write(First, sync_dirty, [{Tab, 21, <<"v">>}]),
         ?assertNotEqual(Digest, call(First, ?P, digest, [Tab])),
         ok = call(First, mnesia, sync_dirty, [fun mnesia:delete/1, [{Tab, 21}]]),
         ?assertEqual(Digest, call(First, ?P, digest, [Tab]))
     end || Tab <- [ram, disc, only]],
    ?assertEqual({error, no_copy}, call(First, ?P, digest, [nosuch])),
    ?assertEqual({error, no_copy}, call(First, ?P, copy, [nosuch, start])).

batches(Config) ->
    {First, Second} = peers(Config),
    Ids = lists:seq(1, 120000),
    %% Written to the own copy only: what is read is the own copy.
    true = call(First, ets, insert, [ram, [{ram, Id, <<>>} || Id <- Ids]]),
    {Batches, Read} = collect(First, ram, start, []),
    ?assert(length(Batches) >= 3),
    ?assert(lists:all(fun(B) -> byte_size(B) =< 8 * 50000 end, Batches)),
    ?assertEqual(Ids, lists:usort(Read)),
    ?assertMatch({21, _}, call(Second, ?P, digest, [ram])),
    true = call(First, ets, match_delete, [ram, {ram, '_', <<>>}]).

collect(Peer, Tab, Cont, Batches) ->
    case call(Peer, ?P, copy, [Tab, Cont]) of
        {Packed, done} ->
            All = [Packed | Batches],
            {All, [Id || Batch <- All, <<Id:64>> <= Batch]};
        {Packed, Next} ->
            collect(Peer, Tab, Next, [Packed | Batches])
    end.

appended(Config) ->
    {First, Second} = peers(Config),
    [ok = call(Peer, mnesia, activity, [Context, fun ?P:append/3, [disc, {key, 7}, Id]])
     || {Peer, Context, Id} <- [{First, transaction, 1}, {Second, sync_transaction, 2}, {First, sync_dirty, 3}]],
    ?assertEqual([{disc, {key, 7}, [1, 2, 3]}], call(Second, ?P, content, [disc, [{key, 7}]])).

without_mnesia(_Config) ->
    Peer = cluster:bare(3, []),
    ok = load(Peer),
    ok = call(Peer, ?P, start, [#{}]),
    ?assertMatch(#{mnesia := no, running_db_nodes := [], tables := #{}}, call(Peer, ?P, views, [])),
    ok = call(Peer, ?P, stop, []),
    ok = call(Peer, ?P, stop, []),
    cluster:kill(Peer).

views(Config) ->
    {First, _} = peers(Config),
    Views = call(First, ?P, views, []),
    One = name(1),
    ?assertMatch(#{node := One, mnesia := yes, memory := _, run_queue := _, processes := _}, Views),
    ?assertEqual(names([1, 2]), lists:sort(maps:get(running_db_nodes, Views))),
    ?assertEqual([name(2)], maps:get(nodes, Views)),
    #{tables := #{ram := Ram}, dist := Dist} = Views,
    ?assertMatch(#{where_to_read := One, storage := ram_copies, load_node := _, size := _}, Ram),
    ?assertEqual(names([1, 2]), lists:sort(maps:get(where_to_write, Ram))),
    ?assertMatch(#{queue := _, pend := _, sent_bytes := _}, maps:get(name(2), Dist)).

lag(Config) -> lag(Config, lag_ram).
lag_on_disc(Config) -> lag(Config, lag_only).

lag(Config, Tab) ->
    {First, Second} = peers(Config),
    Contexts = [transaction, sync_transaction, async_dirty, sync_dirty],
    ok = call(Second, ?P, lag_watch, [[{Tab, kv}]]),
    ok = call(First, ?P, lag_write, [#{table => Tab, contexts => Contexts, rate => 50}]),
    %% The case before may have left rows of its table.
    Of = fun(All) -> [Row || Row = {T, _, _, _, _} <- All, T =:= Tab] end,
    Seen = Of(gather(Second, seen, fun(All) ->
                                       Own = Of(All),
                                       [] =:= Contexts -- [C || {_, _, C, _, _} <- Own] andalso length(Own) > 100
                                   end)),
    ok = call(First, ?P, lag_write, [#{table => Tab, contexts => [], rate => 50}]),
    #{acks := Acks, written := Written, dropped := 0} = call(First, ?P, lag_take, []),
    Sent = maps:from_list([{{C, Seq}, At} || {T, C, Seq, At, _} <- Acks, T =:= Tab]),
    %% Nothing is seen before it was sent, nothing twice, and all of it from the writer, which
    %% was ended in mid-write: the last row of a context may have no acknowledgement.
    [?assert(At > maps:get({C, Seq}, Sent)) || {_, S, C, Seq, At} <- Seen, S =:= name(1), is_map_key({C, Seq}, Sent)],
    ?assert(length([none || {_, _, C, Seq, _} <- Seen, not is_map_key({C, Seq}, Sent)]) =< length(Contexts)),
    ?assertEqual(length(Seen), length(lists:usort([{C, Seq} || {_, _, C, Seq, _} <- Seen]))),
    ?assertEqual(lists:sort(Contexts), lists:sort([C || {T, C, _} <- Written, T =:= Tab])),
    %% Nothing acknowledged is missing. A writer ended in mid-write may have got one row
    %% further than it could tell.
    until(fun() ->
              #{applied := Applied} = call(Second, ?P, lag_take, []),
              There = maps:from_list([{C, Seq} || {T, S, C, Seq} <- Applied, T =:= Tab, S =:= name(1)]),
              lists:all(fun({C, Seq}) -> lists:member(maps:get(C, There, 0) - Seq, [0, 1]) end,
                        [{C, Seq} || {T, C, Seq} <- Written, T =:= Tab])
          end),
    true = call(Second, ?P, resolution, [Tab]) > 0,
    ok = call(Second, ?P, lag_stop, []),
    ok = call(First, ?P, lag_stop, []).

gather(Peer, Key, Enough) -> gather(Peer, Key, Enough, []).

gather(Peer, Key, Enough, Before) ->
    All = Before ++ maps:get(Key, call(Peer, ?P, lag_take, [])),
    case Enough(All) of
        true -> All;
        false -> timer:sleep(50), gather(Peer, Key, Enough, All)
    end.

%% The replica's Mnesia goes and comes back: the probe subscribes again by itself.
lag_over_mnesia_restart(Config) ->
    {First, Second} = peers(Config),
    ok = call(Second, ?P, lag_watch, [[{lag_ram, kv}]]),
    ok = call(First, ?P, lag_write, [#{table => lag_ram, contexts => [transaction], rate => 50}]),
    gather(Second, seen, fun(All) -> All =/= [] end),
    {_, Last, _} = call(Second, ?P, events, [0]),
    stopped = call(Second, mnesia, stop, []),
    ok = call(Second, mnesia, start, []),
    ok = call(Second, ?P, tables_loaded, [[ram, disc, only, lag_ram, lag_only], 60000]),
    _ = call(Second, ?P, lag_take, []),
    gather(Second, seen, fun(All) -> All =/= [] end),
    until(fun() ->
              {_, _, Events} = call(Second, ?P, events, [Last]),
              [{mnesia_stopped}, {mnesia_started}] =:=
                  [E || {_, _, E} <- Events, E =:= {mnesia_stopped} orelse E =:= {mnesia_started}]
          end),
    ok = call(Second, ?P, lag_stop, []),
    ok = call(First, ?P, lag_stop, []).

%% However long nobody takes the records: the rate holds, no two writes overlap.
lag_is_bounded(Config) ->
    {First, _} = peers(Config),
    ok = call(First, ?P, lag_write, [#{table => lag_ram, contexts => [sync_dirty], rate => 40}]),
    Acks = gather(First, acks, fun(All) -> length(All) >= 40 end),
    ok = call(First, ?P, lag_stop, []),
    Spans = [{Sent, Ack} || {lag_ram, sync_dirty, _, Sent, Ack} <- Acks],
    {First0, _} = hd(Spans),
    {Last0, _} = lists:last(Spans),
    ?assert((length(Spans) - 2) * 25000000 =< Last0 - First0),
    [?assert(Ack =< Next) || {{_, Ack}, {Next, _}} <- lists:zip(lists:droplast(Spans), tl(Spans))].

%% A writer that died is there again, unless nobody wants it any more.
lag_after_a_crash(Config) ->
    {First, _} = peers(Config),
    Order = #{table => lag_ram, contexts => [sync_dirty], rate => 40},
    ok = call(First, ?P, lag_write, [Order]),
    [Writer] = children(First),
    true = call(First, erlang, exit, [Writer, kill]),
    until(fun() -> length(children(First) -- [Writer]) end, 1),
    gather(First, acks, fun(All) -> length(All) >= 2 end),
    ok = call(First, ?P, lag_write, [Order#{contexts := []}]),
    {restart, _} = call(First, erlang, send, [?P, {restart, {write, lag_ram, sync_dirty, 40}}]),
    #{now := _} = call(First, ?P, lag_take, []),
    ?assertEqual([], children(First)),
    ok = call(First, ?P, lag_stop, []).

%% The probe is linked with nobody else but the server of its subscription.
children(Peer) ->
    {links, Links} = call(Peer, erlang, process_info, [call(Peer, erlang, whereis, [?P]), links]),
    Links -- [call(Peer, erlang, whereis, [mnesia_subscr])].

%% Last: it takes the second node away.
events(Config) ->
    {First, Second} = peers(Config),
    {_, Last, _} = call(First, ?P, events, [0]),
    Before = call(First, ?P, clock, []),
    cluster:kill(Second),
    until(fun() ->
              {_, _, Events} = call(First, ?P, events, [Last]),
              [mnesia_down, nodedown] =:=
                  lists:sort([element(1, E) || {_, At, E} <- Events, At > Before,
                                               element(1, E) =:= mnesia_down orelse element(1, E) =:= nodedown])
          end),
    {_, _, All} = call(First, ?P, events, [Last]),
    ?assertMatch([{nodedown, _, connection_closed}], [E || {_, _, E} <- All, element(1, E) =:= nodedown]).
