%% @doc Connects this node with its configured peers, in whatever order they start.
%%
%% Each peer is tried with back-off until it was connected once. A peer that was connected
%% and got lost is left alone: whoever restarts connects by itself, and after a network cut
%% the behaviour to be observed is the one of OTP, not of a reconnecting application.
-module(node_cluster).
-behaviour(gen_server).

-export([start_link/1, untried/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(FIRST_PAUSE_MS, 100).
-define(LAST_PAUSE_MS, 5000).

-record(state, {
    untried :: [node()],
    %% Attempts under way: a monitor of the process that makes it, the peer, the pause
    %% that follows when it fails.
    attempts = #{} :: #{reference() => {node(), pos_integer()}}
}).
-type state() :: #state{}.

-spec start_link(node_config:config()) -> {ok, pid()} | {error, term()} | ignore.
start_link(Config) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Config, []).

%% @doc Peers of which not even one attempt has ended yet.
-spec untried() -> [node()].
untried() ->
    try
        gen_server:call(?MODULE, untried)
    catch
        exit:_ -> [node()]
    end.

-spec init(node_config:config()) -> {ok, state()}.
init(#{peers := Peers}) ->
    {ok, lists:foldl(fun(Peer, State) -> attempt(Peer, ?FIRST_PAUSE_MS, State) end,
                     #state{untried = Peers}, Peers)}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, [node()], state()}.
handle_call(untried, _From, State) ->
    {reply, State#state.untried, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({'DOWN', Ref, process, _, _}, State = #state{attempts = Attempts}) ->
    {{Peer, Pause}, Rest} = maps:take(Ref, Attempts),
    Tried = State#state{attempts = Rest, untried = lists:delete(Peer, State#state.untried)},
    case lists:member(Peer, nodes()) of
        true ->
            ok;
        false ->
            _ = erlang:send_after(Pause, self(), {attempt, Peer, min(2 * Pause, ?LAST_PAUSE_MS)}),
            ok
    end,
    {noreply, Tried};
handle_info({attempt, Peer, Pause}, State) ->
    {noreply, attempt(Peer, Pause, State)};
handle_info(_Message, State) ->
    {noreply, State}.

%% An attempt can block for net_setuptime (7 s): each has a process of its own.
-spec attempt(node(), pos_integer(), state()) -> state().
attempt(Peer, Pause, State = #state{attempts = Attempts}) ->
    {_Pid, Ref} = spawn_monitor(fun() -> _ = net_kernel:connect_node(Peer), ok end),
    State#state{attempts = Attempts#{Ref => {Peer, Pause}}}.
