%% @doc What a node believes: of its peers, of Mnesia, of its tables, of its connections.
-module(harness_views).

-export([views/0]).

%% @doc What this node believes at this moment. Asks no other node and never blocks on one.
-spec views() -> #{atom() => term()}.
views() ->
    Running = harness_mnesia:is_running(),
    #{
        node => node(),
        now => os:perf_counter(nanosecond),
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

-spec system_info(atom(), atom()) -> [atom()].
system_info(yes, Item) ->
    try mnesia:system_info(Item)
    catch exit:_ -> []
    end;
system_info(_, _) ->
    [].

-spec table_view(atom()) -> #{atom() => term()}.
table_view(Tab) ->
    maps:put(size, harness_copies:count(Tab),
             maps:from_list([{Item, harness_mnesia:table_info(Tab, From)}
                             || {Item, From} <- [{where_to_write, where_to_write}, {where_to_read, where_to_read},
                                                 {load_node, load_node}, {storage, storage_type}]])).

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
