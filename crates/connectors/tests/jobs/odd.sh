#!/bin/sh
# Does what its subject says when it is to act, and sees nothing when it looks.
if [ "$1" = observe ]; then
    case $2 in
    blind-*) exit "${2#blind-}" ;;
    liar) printf 'it is fine\n' ;;
    *) printf '{"present":false}\n' ;;
    esac
    exit
fi
case $2 in
exit-*)
    echo "this is why" >&2
    exit "${2#exit-}"
    ;;
signal) kill -9 $$ ;;
hang)
    # Each says who it is, so that a test can look for it.
    setsid sh -c 'echo $$ >>"$STATE/pids"; sleep 1000' &
    sh -c 'echo $$ >>"$STATE/pids"; sleep 1000' &
    echo $$ >>"$STATE/pids"
    sleep 1000
    ;;
leave)
    setsid sh -c 'trap "" HUP TERM; echo $$ >"$STATE/left.new"; mv "$STATE/left.new" "$STATE/pids"; sleep 1000' &
    while [ ! -e "$STATE/pids" ]; do :; done
    ;;
flood) while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done ;;
swell) exec dd bs=100M count=1 iflag=fullblock if=/dev/urandom of=/dev/null ;;
input) cat >"$STATE/input" ;;
*)
    # The arguments, one on each line.
    for argument in "$@"; do printf '%s\n' "$argument"; done >"$STATE/arguments"
    ;;
esac
