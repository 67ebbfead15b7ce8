#!/bin/sh
# Keeps a server from outliving the process that wants it, even one that died by kill -9.
#
#   supervise.sh REMOVE_1 REMOVE_2 COMMAND...     (an empty REMOVE is nothing to remove)
#
# Standard input is the lifeline: a pipe whose other end only the owner holds, so that its end of
# file means the owner stopped us or is gone. Then the server gets SIGINT (PostgreSQL: fast
# shutdown), and at the end the folders that were temporary are removed. Standard output is a locked
# file, free again when the last process of the server is gone.
exec 3<&0 </dev/null
data=$1 socket=$2
shift 2
"$@" 3<&- &
server=$!
(
  read -r _ <&3
  # Again and again: a server that has just been started still ignores it.
  while kill -INT "$server" 2>/dev/null; do sleep 0.2 3<&- >/dev/null; done
) &
watcher=$!
exec 3<&-
trap 'kill -INT "$server" 2>/dev/null' INT TERM HUP
while :; do
  wait "$server" # ends early when a signal comes in
  status=$?
  kill -0 "$server" 2>/dev/null || break
done
kill "$watcher" 2>/dev/null
[ -z "$data" ] || rm -rf -- "$data"
[ -z "$socket" ] || rm -rf -- "$socket"
exit "$status"
