#!/usr/bin/env python3
"""Tries ports all the time, and tells what came of it beside what happened meanwhile.

usage: probe.py watch FILE SECONDS TARGET...      tries each target every SECONDS, until ended
       probe.py table EVENTS FILE...              timeline and table; status 1 when a promise was broken

A target is +NAME=ADDRESS:PORT, which must answer, or -NAME=ADDRESS:PORT, to which no connection may come
to be. A line of FILE is one try: when it was connected, else when it began; its target; what came of it
(nothing, connected, answered). A line of EVENTS is: start, end, seconds for which what must be closed
may be open, words.
"""

import selectors
import signal
import socket
import sys
import time

# Nothing within this time is nothing.
LIMIT = 1.0


class Try:
    """One connection, from its start until something came of it."""

    def __init__(self, name, address):
        self.name, self.start, self.came = name, time.time(), "nothing"
        # When it was connected: a packet that is sent again may be the one that gets in.
        self.when = self.start
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(address)

    def goes_on(self):
        """Called when there is something to hear of it."""
        try:
            if self.came == "nothing":
                if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return False
                self.came, self.when = "connected", time.time()
                self.socket.send(b"GET / HTTP/1.0\r\n\r\n")
                return True
            if self.socket.recv(100):
                self.came = "answered"
        except OSError:
            pass
        return False


def watch(file, every, targets):
    """Tries until a signal comes; what is under way then counts by what came of it so far."""
    aims = []
    for target in targets:
        name, _, place = target.partition("=")
        host, _, port = place.rpartition(":")
        aims.append((target, (host, int(port))))
    going = selectors.DefaultSelector()
    ended = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.append(True))
    due = time.time()

    def end(one):
        going.unregister(one.socket)
        one.socket.close()
        file.write(f"{one.when:.3f} {one.name} {one.came}\n")

    while not ended:
        now = time.time()
        if now >= due:
            due = max(due + every, now)
            for name, address in aims:
                one = Try(name, address)
                going.register(one.socket, selectors.EVENT_WRITE, one)
        for key, _ in going.select(max(0, due - time.time())):
            if key.data.goes_on():
                going.modify(key.data.socket, selectors.EVENT_READ, key.data)
            else:
                end(key.data)
        for key in list(going.get_map().values()):
            if key.data.start + LIMIT < now:
                end(key.data)
    for key in list(going.get_map().values()):
        # What should answer had no time for it.
        if key.data.name.startswith("-") or key.data.came == "answered":
            end(key.data)


def good(name, came):
    """Whether a try is as the sign of its target says."""
    return came == "answered" if name.startswith("+") else came == "nothing"


# Seconds that a try may take on a busy machine.
CUT = 0.5


def outage(tries):
    """Seconds between the last good try before the first bad one, and the first good one after all."""
    bad = [start for start, name, came in tries if not good(name, came)]
    if not bad:
        return 0.0
    after = [start for start, name, came in tries if start > bad[-1] and good(name, came)]
    return after[0] - bad[0] if after else float("inf")


def longest(out, tries, side):
    """The longest outage on this side; without end when nobody tried there meanwhile, but at other times."""
    never = float("inf") if any(one[1].startswith(side) for one in tries) else 0.0
    return max((s for name, s in out.items() if name.startswith(side)), default=never)


def changes(tries, zero):
    """The tries whose outcome is another than that of the one before at the same target."""
    last = {}
    for start, name, came in tries:
        if last.get(name, came) != came:
            yield f"{start - zero:8.2f}    {name:52} {came}"
        last[name] = came


def table(events, files):
    """Prints what was, and gives whether every promise held."""
    with open(events, encoding="utf-8") as lines:
        happened = [line.rstrip("\n").split(" ", 3) for line in lines]
    happened = [(float(a), float(b), float(c), words) for a, b, c, words in happened]
    tries = []
    for file in files:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                start, name, came = line.split()
                tries.append((float(start), name, came))
    tries.sort()
    zero = tries[0][0]
    # The end of the probing cuts off tries that would still be answered.
    whole = tries[-1][0] - CUT
    tries = [one for one in tries if one[0] < whole or good(*one[1:]) or one[1].startswith("-")]

    print("seconds")
    lines = [f"{start - zero:8.2f}  $ {words}" for start, _, _, words in happened]
    lines += changes(tries, zero)
    print("\n".join(sorted(lines, key=lambda line: float(line[:8]))))
    print()
    print(f"{'what happened':64}{'took':>7}{'tries at':>10}{'got':>5}{'open':>7}{'LAN':>8}{'public':>8}")
    print(f"{'':64}{'s':>7}{'closed':>10}{'in':>5}{'s':>7}{'out s':>8}{'out s':>8}")
    held = True
    for number, (start, end, allowed, words) in enumerate(happened):
        until = happened[number + 1][0] if number + 1 < len(happened) else float("inf")
        window = [one for one in tries if start <= one[0] < until]
        closed = [one for one in window if one[1].startswith("-")]
        got_in = [one for one in closed if not good(one[1], one[2])]
        names = {one[1] for one in window if one[1].startswith("+")}
        out = {name: outage([one for one in window if one[1] == name]) for name in names}
        lan, public = longest(out, tries, "+lan"), longest(out, tries, "+wan")
        opened = got_in[-1][0] - start if got_in else 0.0
        print(
            f"{words[:62]:64}{end - start:7.2f}{len(closed):10}{len(got_in):5}{opened:7.2f}{lan:8.2f}{public:8.2f}"
        )
        # What takes all rules away takes the engine's too, and with them the way into its containers.
        lost = float("inf") in (lan, public) and not allowed
        if not closed or opened > allowed or lost:
            print("    ^ broken")
            held = False
    return held


def main():
    """See the head."""
    if sys.argv[1] == "watch":
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            watch(file, float(sys.argv[3]), sys.argv[4:])
    elif not table(sys.argv[2], sys.argv[3:]):
        sys.exit(1)


main()
