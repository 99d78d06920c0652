%% @doc The contents of this node's own copies of tables. Never through the table's access
%% functions: they would read another node's copy when there is none here, or when it is not
%% loaded.
-module(harness_copies).

-export([append/3, copy/2, digest/1, content/2, updates/1, rows/1, count/1, storage/1]).

-export_type([cont/0]).

-define(BATCH_IDS, 50000).
-define(BATCH_NS, 1000000000).

-type cont() :: start | {'after', Key :: term()}.

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

%% @doc Where the copy of this node lies.
-spec storage(atom()) -> ets | dets | none.
storage(Tab) ->
    case harness_mnesia:table_info(Tab, storage_type) of
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
    case storage(Tab) of
        none ->
            {error, no_copy};
        Kind ->
            try
                First = case Cont of
                            start -> Kind:first(Tab);
                            {'after', Key} -> Kind:next(Tab, Key)
                        end,
                copy(Kind, Tab, First, Cont, 0, [], os:perf_counter(nanosecond) + ?BATCH_NS)
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
    Full = Total > ?BATCH_IDS orelse os:perf_counter(nanosecond) > Deadline,
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
    case storage(Tab) of
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
    case storage(Tab) of
        none -> {error, no_copy};
        Kind -> lists:append([Kind:lookup(Tab, Key) || Key <- Keys])
    end.

%% @doc What was appended under each `{key, N}' in the own copy.
-spec updates(atom()) -> [{term(), [integer()]}] | {error, no_copy}.
updates(Tab) ->
    case storage(Tab) of
        none -> {error, no_copy};
        Kind -> lists:sort(Kind:select(Tab, [{{Tab, {key, '$1'}, '$2'}, [], [{{'$1', '$2'}}]}]))
    end.

%% @doc Key and value of every row in the own copy; none without one.
-spec rows(atom()) -> [{Key :: term(), Value :: term()}].
rows(Tab) ->
    case storage(Tab) of
        none -> [];
        Kind -> Kind:select(Tab, [{{Tab, '$1', '$2'}, [], [{{'$1', '$2'}}]}])
    end.

%% @doc Number of rows in the own copy. Not mnesia:table_info(Tab, size): without a copy here
%% that asks another node.
-spec count(atom()) -> non_neg_integer().
count(Tab) ->
    Size = case storage(Tab) of
               ets -> ets:info(Tab, size);
               dets -> dets:info(Tab, size);
               none -> 0
           end,
    case is_integer(Size) of
        true -> Size;
        false -> 0
    end.
