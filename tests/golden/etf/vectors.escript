#!/usr/bin/env escript
-mode(compile).
%% Writes one line per term: name, term_to_binary in hexadecimal. Run on each OTP; see README.md beside this file.
main(_) ->
    Ref = make_ref(),
    Big = 1 bsl 3000,
    X = 7,
    Terms = [
        {small_integer, 255}, {integer, 256}, {integer_negative, -1}, {integer_min, -16#80000000},
        {integer_over, 16#80000000}, {small_big, 1 bsl 64}, {small_big_negative, -(1 bsl 100)},
        {large_big, Big}, {large_big_negative, -Big},
        {float, 1.5}, {float_negative_zero, -0.0}, {float_tiny, 5.0e-324},
        {atom, ok}, {atom_empty, ''}, {atom_latin1, 'h\x{e9}'}, {atom_unicode, '\x{3b1}\x{1f600}'},
        {atom_255, list_to_atom(lists:duplicate(255, $a))},
        {atom_255_wide, list_to_atom(lists:duplicate(255, 16#3b1))},
        {true, true}, {false, false}, {undefined, undefined},
        {binary, <<"abc">>}, {binary_empty, <<>>}, {bitstring, <<5:3>>}, {bitstring_long, <<"ab", 1:1>>},
        {nil, []}, {string, "abc"}, {string_wide, [1, 2, 256]}, {list, [a, [b], []]},
        {improper, [a, b | c]}, {tuple_empty, {}}, {tuple, {a, 1, {b}}}, {tuple_256, erlang:make_tuple(256, x)},
        {map_empty, #{}}, {map, #{a => 1}}, {map_nested, #{<<"k">> => #{1 => [x]}}},
        {map_collision, #{1 => a, 1.0 => b}}, {map_true, #{true => a, 1 => b}}, {map_list_key, #{[1] => a}},
        {pid, self()}, {reference, Ref}, {port, hd(erlang:ports())},
        {export, fun lists:map/2}, {'fun', fun(Y) -> X + Y end}
    ],
    io:format("# OTP ~s~n", [erlang:system_info(otp_release)]),
    lists:foreach(fun({Name, Term}) -> line(Name, term_to_binary(Term)) end, Terms),
    line(old_float, term_to_binary(1.5, [{minor_version, 0}])),
    line(compressed, term_to_binary(lists:duplicate(1000, abc), [compressed])),
    line(latin1_atoms, term_to_binary({ok, 'h\x{e9}'}, [{minor_version, 1}])).

line(Name, Binary) ->
    io:format("~s ~s~n", [Name, [io_lib:format("~2.16.0b", [B]) || <<B>> <= Binary]]).
