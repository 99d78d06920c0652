%% @doc Targets for remote calls: nothing but what a caller wants to see come back.
-module(node_echo).

-export([echo/1, echo/2, sleep/1, crash/1, blob/1]).

-spec echo(Term) -> Term.
echo(Term) -> Term.

-spec echo(First, Second) -> {First, Second}.
echo(First, Second) -> {First, Second}.

%% @doc Answers after `Ms' milliseconds.
-spec sleep(non_neg_integer()) -> ok.
sleep(Ms) -> timer:sleep(Ms).

%% @doc Fails with `Reason' as its error.
-spec crash(term()) -> no_return().
crash(Reason) -> erlang:error(Reason).

%% @doc `Size' bytes, to see how large answers fare.
-spec blob(non_neg_integer()) -> binary().
blob(Size) -> binary:copy(<<0>>, Size).
