"""What the Python clients of the clients suite share: a JSON command a line on standard input, a JSON
answer a line on standard output. What the commands are is in `remote.rs`."""

import json
import sys
import time

PATIENCE = 30


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def tohex(data):
    return None if data is None else bytes(data).hex()


def until(what, done, step, patience=PATIENCE):
    """Calls `step` until `done` says so; says `what` it waited for where that never comes."""
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(what())
        step()


def rebalance(join, partitions, count, state):
    """One member reads everything, shares with a second, and has all again when that one leaves.

    `join` makes a member with `poll()`, `has()` (its partitions), `read` (records so far),
    `commit()` and `close()`; `state` says what the broker says of the group meanwhile.
    """
    a = join()
    until(
        lambda: f"the first member read {a.read} and has {a.has()}",
        lambda: a.read >= count and len(a.has()) == partitions,
        a.poll,
    )
    first = a.has()
    a.commit()
    b = join()

    def both():
        a.poll()
        b.poll()

    until(
        lambda: f"the members have {a.has()} and {b.has()}",
        lambda: a.has() and b.has() and sorted(a.has() + b.has()) == first,
        both,
    )
    shared, again = [a.has(), b.has()], b.read
    described = state()
    b.close()
    until(
        lambda: f"the remaining member has {a.has()}",
        lambda: len(a.has()) == partitions,
        a.poll,
    )
    last = a.has()
    a.close()
    return {"read": a.read, "again": again, "first": first, "shared": shared, "last": last, **described}


def follow(member, count, lost_membership):
    """Reads until there are `count` different values, and commits what it has after each poll. A commit of
    `lost_membership` is no failure: the member joins again, and reads what it had not committed once more."""

    def step():
        before = member.read
        member.poll()
        if member.read > before:
            try:
                member.commit()
            except Exception as error:
                if not lost_membership(error):
                    raise

    done = lambda: len(set(member.values)) >= count
    until(lambda: f"it has read {member.values}", done, step, 2 * PATIENCE)
    member.close()
    return {"values": [value.decode() for value in member.values]}


def serve(commands):
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = commands[command["do"]](command)
        except Exception as error:  # every failure is an answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer or {}), flush=True)
