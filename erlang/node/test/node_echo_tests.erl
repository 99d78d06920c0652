-module(node_echo_tests).
-include_lib("eunit/include/eunit.hrl").

echo_test() ->
    ?assertEqual(hello, node_echo:echo(hello)),
    ?assertEqual({hello, 1}, node_echo:echo(hello, 1)).

sleep_test() -> ?assertEqual(ok, node_echo:sleep(1)).
crash_test() -> ?assertError(boom, node_echo:crash(boom)).
blob_test() -> ?assertEqual(1000, byte_size(node_echo:blob(1000))).
