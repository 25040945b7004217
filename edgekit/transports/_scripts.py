"""What runs on a device before anything of ours is there: small POSIX shell scripts.

They reach the device on the standard input of ``sh -s edgekit``, so that no login shell reads
them, and every word in them that is not ours is quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

# The guardian owns the workspace for as long as the connection lives.  The host writes a line every
# few seconds, and it answers.  When lines stay out, or its input ends, it kills what was started
# here; it removes the workspace at once when it was told `bye`, else after a grace, in which a
# new connection may take over and finish a push.  Built-ins only, so that it hardly ever disturbs.
_GUARDIAN = r"""
trap '' HUP PIPE
umask 077
me=$$
halt() {
    for each in "$space"/.running/*; do
        [ -e "$each" ] && kill -s KILL -- "-${each##*/}" 2>/dev/null
    done
}
leave() {
    if [ "$(cat "$lock/guardian" 2>/dev/null)" = "$me" ]; then rm -rf "$lock"; fi
    rm -rf "$space" 2>/dev/null || { sleep 1; rm -rf "$space"; }
}
lost() {
    halt
    sleep "$grace"
    if [ "$(cat "$space/.owner" 2>/dev/null)" = "$me" ]; then leave; fi
    kill -s KILL -- "-$me"
}
guard() {
    if [ -n "$space" ]; then
        [ -d "$space" ] || { echo "gone"; exit 1; }
        old=$(cat "$space/.owner")
    else
        space=$(mktemp -d "$folder/edgekit-XXXXXXXX") || exit 1
        mkdir "$space/.running" || exit 1
        old=
    fi
    echo "$me" > "$space/.owner"
    echo 0 > "$space/.beats" || { leave; exit 1; }
    if [ -n "$old" ] && [ "$(cat "$lock/guardian" 2>/dev/null)" = "$old" ]; then
        echo "$me" > "$lock/guardian"
    fi
    (
        last=
        while sleep "$dead"; do
            read -r now < "$space/.beats" || now=$last
            if [ "$now" = "$last" ]; then lost; fi
            last=$now
        done
    ) &
    watch=$!
    count=0
    echo "space $me $space"
    while read -r word; do
        if [ "$word" = bye ]; then
            halt
            leave
            echo "gone"
            kill -s KILL -- "-$me"
        fi
        count=$((count + 1))
        echo "$count" > "$space/.beats"
        echo "beat"
    done
    kill -s KILL "$watch" 2>/dev/null
    lost
}
guard
"""

# A folder is made by one process only, so it is the lock.  Its holder is gone when no process bears
# the guardian's number, or another program does.
_LOCK = r"""
umask 022
if ! mkdir "$lock" 2>/dev/null; then
    old=$(cat "$lock/guardian" 2>/dev/null)
    sleep 1
    alive=
    if [ -n "$old" ] && { kill -0 "$old" || [ -d "/proc/$old" ]; } 2>/dev/null; then alive=yes; fi
    if [ -n "$alive" ] && [ -r "/proc/$old/cmdline" ]; then
        grep -q edgekit "/proc/$old/cmdline" || alive=
    fi
    if [ -n "$alive" ]; then cat "$lock/holder"; exit 75; fi
    rm -rf "$lock"
    mkdir "$lock" || exit 1
fi
echo "$guardian" > "$lock/guardian" && echo "$holder" > "$lock/holder"
"""

_RUN = r"""
cd "$space" || exit 127
echo > ".running/$$"
%s < /dev/null
code=$?
rm -f ".running/$$"
(exit $code)
"""

_SUM = r"""
sum() {
    if command -v sha256sum > /dev/null; then sha256sum < "$1"; else shasum -a 256 < "$1"; fi
}
"""

# What a push must know: whether the file is there, how much of it is, how much room there is.
_LOOK = (
    _SUM
    + r"""
[ -f "$aim" ] && echo "sum $(sum "$aim")"
[ -f "$part" ] && echo "size $(wc -c < "$part")"
echo "free $(df -Pk "$space" | tail -n 1)"
"""
)

_PLACE = (
    _SUM
    + r"""
set -- $(sum "$part")
if [ "$1" = "$wanted" ]; then mv -f "$part" "$aim"; else rm -f "$part"; exit 75; fi
"""
)


def guardian(
    *, folder: str, lock: str, space: str = "", dead: float = 20.0, grace: float = 20.0
) -> bytes:
    """Return the guardian's script; `space` is the workspace to take over, empty for a new one."""
    return _script(
        _GUARDIAN, folder=folder, lock=lock, space=space, dead=f"{dead:g}", grace=f"{grace:g}"
    )


def locking(lock: str, guardian: str, holder: str) -> bytes:
    """Return the script that takes a device's lock, or tells who has it and exits with 75."""
    return _script(_LOCK, lock=lock, guardian=guardian, holder=holder)


def running(space: str, argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    """Return the script that runs a program and notes its process group while it does."""
    exports = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    words = " ".join(["env", *exports, *map(shlex.quote, argv)] if env else map(shlex.quote, argv))
    return _script(_RUN.replace("%s", words, 1), space=space)


def killing(group: str) -> bytes:
    """Return the script that kills a process group."""
    return _script('kill -s KILL -- "-$group"', group=group)


def summing(file: str) -> bytes:
    """Return the script that prints a file's sha256."""
    return _script(_SUM + 'sum "$file"', file=file)


def looking(space: str, aim: str, part: str) -> bytes:
    """Return the script that prints what a push must know."""
    return _script(_LOOK, space=space, aim=aim, part=part)


def placing(part: str, aim: str, wanted: str) -> bytes:
    """Return the script that renames a file if its sha256 is right; else it goes, with exit 75."""
    return _script(_PLACE, part=part, aim=aim, wanted=wanted)


def _script(body: str, **words: str) -> bytes:
    """Return a script that sets its variables, then runs as one block.

    One block, since a shell that reads its script from a pipe must have all of it before anything
    in it reads from that pipe.
    """
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in words.items())
    return f"{{\n{lines}{body}\n}}\n".encode()


def framed(script: bytes, token: str) -> bytes:
    """Return a script that says its process group first and its exit code last.

    Some transports cannot tell a program's exit code from a link that broke; this can.
    """
    return b"{\necho group $$\n(\n%s)\nprintf '\\n%s %%s\\n' $?\n}\nexit\n" % (
        script,
        token.encode(),
    )
