%% @doc Supervises the two long-lived parts: the one that connects, the one that joins Mnesia.
-module(node_sup).
-behaviour(supervisor).

-export([start_link/1, init/1]).

-spec start_link(node_config:config()) -> {ok, pid()} | {error, term()}.
start_link(Config) ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, Config) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

-spec init(node_config:config()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Config) ->
    Children = [#{id => Module, start => {Module, start_link, [Config]}} || Module <- parts(Config)],
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, Children}}.

%% Of the two, those that this node's settings ask for.
-spec parts(node_config:config()) -> [module()].
parts(#{schema := none}) -> [node_cluster];
parts(_Config) -> [node_cluster, node_mnesia].
