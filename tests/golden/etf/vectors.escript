#!/usr/bin/env escript
-mode(compile).
%% Writes one line per term: name, term_to_binary in hexadecimal. Run on each OTP; see README.md beside this file.
%% Names ending in _read are bytes that nodes read but do not write any more; beside each, under the same name ending
%% in _now, what this node writes for the term it read.
main(_) ->
    io:format("# OTP ~s~n", [erlang:system_info(otp_release)]),
    lists:foreach(fun({Name, Term}) -> line(Name, term_to_binary(Term)) end, terms()),
    line(old_float, term_to_binary(1.5, [{minor_version, 0}])),
    line(compressed, term_to_binary(lists:duplicate(1000, abc), [compressed])),
    line(compressed_best, term_to_binary(lists:duplicate(1000, abc), [{compressed, 9}])),
    line(compressed_not, term_to_binary({short, 1}, [compressed])),
    line(latin1_atoms, term_to_binary({ok, 'h\x{e9}'}, [{minor_version, 1}])),
    lists:foreach(
        fun({Name, Bytes}) ->
            Read = <<131, Bytes/binary>>,
            line([atom_to_list(Name), "_read"], Read),
            line([atom_to_list(Name), "_now"], term_to_binary(binary_to_term(Read)))
        end, read_only()),
    %% Readable by this very node only; nodes before OTP 26 have no such thing.
    [line(local, term_to_binary({ok, 1}, [local])) || erlang:system_info(otp_release) >= "26"],
    ok.

terms() ->
    Big = 1 bsl 3000,
    X = 7,
    <<Part:3/bits, _/bits>> = <<255>>,
    <<_:2, Across:11/bits, _/bits>> = <<255, 255, 255>>,
    [
        {zero, 0}, {small_integer, 255}, {integer, 256}, {integer_negative, -1}, {integer_min, -16#80000000},
        {integer_max, 16#7fffffff}, {integer_over, 16#80000000}, {integer_under, -16#80000001},
        {small_big, 1 bsl 64}, {small_big_negative, -(1 bsl 100)}, {small_big_longest, (1 bsl 2040) - 1},
        {large_big_shortest, 1 bsl 2040}, {large_big, Big}, {large_big_negative, -Big},
        {float, 1.5}, {float_zero, 0.0}, {float_negative_zero, -0.0}, {float_tiny, 5.0e-324},
        {float_huge, 1.7976931348623157e308}, {float_third, 1 / 3},
        {atom, ok}, {atom_empty, ''}, {atom_spaces, ' two words '}, {atom_latin1, 'h\x{e9}'},
        {atom_unicode, '\x{3b1}\x{1f600}'},
        {atom_255, list_to_atom(lists:duplicate(255, $a))},
        {atom_255_wide, list_to_atom(lists:duplicate(255, 16#3b1))},
        {atom_255_widest, list_to_atom(lists:duplicate(255, 16#1f600))},
        {true, true}, {false, false}, {undefined, undefined},
        {binary, <<"abc">>}, {binary_empty, <<>>}, {binary_long, binary:copy(<<"0123456789">>, 30)},
        {bitstring, <<5:3>>}, {bitstring_long, <<"ab", 1:1>>}, {bitstring_part, Part}, {bitstring_across, Across},
        {nil, []}, {string, "abc"}, {string_zeros, [0, 0, 255]}, {string_wide, [1, 2, 256]}, {string_negative, [1, -1]},
        {list, [a, [b], []]}, {list_nested, [[[[[]]]], [[], []]]}, {list_mixed, [1, 2, 1.0, <<"1">>, '1', "1", {1}]},
        {improper, [a, b | c]}, {improper_number, [1 | 2]}, {improper_binary, [1, 2, 3 | <<"x">>]},
        {improper_nested, [[a | b], [[c | d] | e] | {f, [g | h]}]},
        {tuple_empty, {}}, {tuple, {a, 1, {b}}}, {tuple_255, erlang:make_tuple(255, [])},
        {tuple_256, erlang:make_tuple(256, x)},
        {map_empty, #{}}, {map, #{a => 1}}, {map_nested, #{<<"k">> => #{1 => [x]}}},
        {map_32, maps:from_list([{N, N * N} || N <- lists:seq(1, 32)])},
        {map_33, maps:from_list([{N, N * N} || N <- lists:seq(1, 33)])},
        {map_tuple_keys, #{{1, a} => {2, b}, {} => []}},
        {map_collision, #{1 => a, 1.0 => b}}, {map_true, #{true => a, 1 => b}}, {map_list_key, #{[1] => a}},
        {map_map_key, #{#{} => a}}, {map_bits_key, #{<<5:3>> => a}}, {map_inner_collision, #{{1} => a, {1.0} => b}},
        {pid, self()}, {pid_key, #{self() => me}}, {reference, make_ref()}, {reference_alias, alias()},
        {port, hd(erlang:ports())},
        {export, fun lists:map/2}, {export_wide, fun '\x{3b1}':'h\x{e9}'/255},
        {'fun', fun(Y) -> X + Y end}, {fun_closed, fun() -> ok end},
        {fun_nested, begin Inner = fun(Y) -> X - Y end, fun(Z) -> Inner(Z) end end},
        {everything, {#{a => [1, 2.5, <<"b">> | {}]}, [self(), make_ref(), fun lists:map/2], <<1:1>>, -(1 bsl 70)}}
    ].

read_only() ->
    Node = <<119, 3, "a@b">>,
    OldNode = <<100, 3:16, "a@b">>,
    [
        {pid, <<103, OldNode/binary, 5:32, 6:32, 1>>}, {pid_new, <<88, OldNode/binary, 5:32, 6:32, 70000:32>>},
        {port, <<102, OldNode/binary, 9:32, 2>>}, {port_new, <<89, Node/binary, 9:32, 70000:32>>},
        {port_v4, <<120, Node/binary, (1 bsl 40):64, 70000:32>>},
        {reference, <<101, OldNode/binary, 9:32, 2>>}, {reference_new, <<114, 3:16, OldNode/binary, 1, 7:32, 8:32, 9:32>>},
        {reference_newer, <<90, 1:16, Node/binary, 70000:32, 7:32>>},
        {reference_five, <<90, 5:16, Node/binary, 70000:32, 1:32, 2:32, 3:32, 4:32, 5:32>>},
        {atom, <<100, 3:16, "abc">>}, {atom_latin1, <<100, 2:16, "h", 16#e9>>}, {atom_small, <<115, 2, "h", 16#e9>>},
        {atom_true, <<115, 4, "true">>}, {atom_utf8, <<118, 3:16, "h", 16#c3, 16#a9>>},
        {float, <<99, "1.50000000000000000000e+00", 0, 0, 0, 0, 0>>},
        {float_small, <<99, "-4.94065645841246544177e-324", 0, 0, 0>>},
        {integer_as_int, <<98, 0, 0, 0, 7>>}, {integer_as_big, <<110, 3, 1, 7, 0, 0>>},
        {integer_as_large_big, <<111, 0, 0, 0, 2, 0, 1, 1>>}, {integer_without_bytes, <<110, 0, 0>>},
        {tuple_large, <<105, 0, 0, 0, 2, 97, 1, 97, 2>>}, {list_of_bytes, <<108, 0, 0, 0, 2, 97, 1, 97, 2, 106>>},
        {list_of_none, <<108, 0, 0, 0, 0, 106>>}, {list_in_two, <<108, 0, 0, 0, 1, 97, 1, 108, 0, 0, 0, 1, 98, 0, 0, 1, 0, 106>>},
        {list_then_string, <<108, 0, 0, 0, 1, 100, 1:16, "a", 107, 2:16, "bc">>},
        {string_of_none, <<107, 0:16>>}, {bits_eight, <<77, 0, 0, 0, 2, 8, "ab">>}, {bits_unclean, <<77, 0, 0, 0, 1, 3, 255>>},
        {export_old, <<113, 100, 5:16, "lists", 115, 3, "map", 97, 2>>}
    ].

line(Name, Binary) ->
    io:format("~s ~s~n", [Name, [io_lib:format("~2.16.0b", [B]) || <<B>> <= Binary]]).
