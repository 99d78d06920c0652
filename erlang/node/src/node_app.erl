%% @doc The application callback, and the one question an operator asks: are you ready?
-module(node_app).
-behaviour(application).

-export([start/2, stop/1, ready/0]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case node_config:load() of
        {ok, Config} ->
            node_sup:start_link(Config);
        {error, Reason} ->
            %% One line an operator can act on, instead of a crash dump of the boot.
            io:format(standard_error, "node: ~ts~n", [Reason]),
            erlang:halt(1)
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    ok.

%% @doc `ready' when every peer was at least tried, the Mnesia schema is shared and this
%% node's own tables are loaded (unless it takes no part in Mnesia). Evaluated at the moment of the call: a node whose Mnesia
%% was stopped is not ready any more.
-spec ready() -> ready | {starting, Reason :: term()}.
ready() ->
    case node_cluster:untried() of
        [] -> ready(node_config:load());
        Peers -> {starting, {connecting, Peers}}
    end.

-spec ready({ok, node_config:config()} | {error, string()}) -> ready | {starting, term()}.
ready({ok, #{schema := none}}) -> ready;
ready(_) -> node_mnesia:ready().
