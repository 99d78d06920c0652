%% Real OTP nodes for the suites. They talk to the test over their standard input and output,
%% so the test itself is no node and takes part in nothing.
-module(cluster).

-export([start/3, kill/1, kill_all/0, call/4, ready/1, name/1, names/1, until/1, until/2, bare/2]).

name(N) -> list_to_atom("p" ++ integer_to_list(N) ++ "@localhost").
names(Ns) -> [name(N) || N <- Ns].

%% A node that runs the application, not yet waited for.
start(Dir, N, Options) ->
    %% From its first moment: a cookie that is changed later is too late for a peer that dials at once.
    Peer = bare(N, maps:get("COOKIE", Options, "suite"), ["-pa" | code_path()]),
    Env = maps:merge(#{"NODE_PEERS" => peers([1, 2, 3]),
                       "NODE_MNESIA_DIR" => filename:join(Dir, atom_to_list(name(N)))}, Options),
    [true = call(Peer, os, putenv, [Key, Value]) || {Key, Value} <- maps:to_list(Env)],
    ok = call(Peer, application, load, [mnesia]),
    ok = call(Peer, application, start, [node]),
    Peer.

%% A node that has never heard of this application.
bare(N, Args) -> bare(N, "suite", Args).

bare(N, Cookie, Args) ->
    {ok, Peer, _} = peer:start_link(#{name => list_to_atom("p" ++ integer_to_list(N)), host => "localhost",
                                      connection => standard_io, wait_boot => 120000,
                                      args => ["-setcookie", Cookie, "-kernel", "logger_level", "error" | Args]}),
    put(?MODULE, [Peer | started()]),
    Peer.

%% Of this process: a test case and its end run in the same one.
started() ->
    case get(?MODULE) of
        undefined -> [];
        Peers -> Peers
    end.

kill_all() ->
    [kill(Peer) || Peer <- started(), is_process_alive(Peer)],
    ok.

code_path() ->
    [filename:dirname(code:which(node_app))].

peers(Ns) ->
    lists:flatten(lists:join(",", [atom_to_list(name(N)) || N <- Ns])).

call(Peer, M, F, A) -> peer:call(Peer, M, F, A, 60000).

%% As SIGKILL does: nothing gets to say goodbye.
kill(Peer) ->
    Pid = call(Peer, os, getpid, []),
    Ref = monitor(process, Peer),
    unlink(Peer),
    os:cmd("kill -9 " ++ Pid),
    receive {'DOWN', Ref, _, _, _} -> ok after 60000 -> exit(not_dead) end.

ready(Peers) ->
    [until(fun() -> call(Peer, node_app, ready, []) end, ready) || Peer <- Peers],
    ok.

until(Fun) -> until(Fun, true).

%% Repeats until the value is there; a deadline, not a measurement.
until(Fun, Value) -> until(Fun, Value, erlang:monotonic_time(millisecond) + 60000).

until(Fun, Value, Deadline) ->
    case Fun() of
        Value -> Value;
        Other ->
            erlang:monotonic_time(millisecond) < Deadline orelse exit({not_reached, Value, Other}),
            timer:sleep(20),
            until(Fun, Value, Deadline)
    end.
