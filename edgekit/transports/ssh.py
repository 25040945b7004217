"""SSH: a board on the network, as ``~/.ssh/config`` describes it."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import importlib.util
import logging
import queue
import socket
import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgekit.devices import Device
from edgekit.errors import DeviceError, HostKeyError, UnavailableError
from edgekit.text import printable
from edgekit.transports import Channel, Link

if TYPE_CHECKING:
    import paramiko

ADDRESS = "user@host, host or user@host:port"
_PATIENCE = 15.0  # seconds for each step of connecting
_CHUNK = 2**18  # bytes


def unavailable() -> UnavailableError | None:
    """Return why no connection can be made."""
    if importlib.util.find_spec("paramiko") is not None:
        return None
    return UnavailableError("paramiko is not installed.", "pip install 'edgekit[devices]'")


def open_link(device: Device) -> Link:
    """Log in.

    Raises:
        HostKeyError: the device's host key is unknown, or another one than before.
        DeviceError: it cannot be reached, or does not let us in.
    """
    return _Ssh(_login(device.address, port=device.port, identity=device.identity))


def _login(
    address: str, *, port: int | None = None, identity: str | None = None, depth: int = 0
) -> paramiko.SSHClient:
    """Log in at an address, through the jump hosts that the configuration names."""
    import paramiko

    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # its errors are ours to tell
    user, _, rest = address.rpartition("@")
    alias, colon, number = rest.rpartition(":")
    if not colon or not number.isdigit():
        alias, number = rest, ""
    options = _options(alias)
    host = options.get("hostname", alias)
    door = int(number or port or options.get("port", 22))
    name = user or options.get("user") or getpass.getuser()
    keys = [identity] if identity else options.get("identityfile", [])
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_Refuse(f"{name}@{host}", door))
    for file in _known_hosts(options):
        with contextlib.suppress(OSError):
            client.load_system_host_keys(str(file))
    try:
        client.connect(
            options.get("hostkeyalias", host),
            port=door,
            username=name,
            key_filename=[str(Path(key).expanduser()) for key in keys if _exists(key)],
            allow_agent=options.get("identitiesonly") != "yes",
            look_for_keys=not keys,
            sock=_socket(host, door, options, depth),
            timeout=_PATIENCE,
            banner_timeout=_PATIENCE,
            auth_timeout=_PATIENCE,
        )
    except Exception as error:
        client.close()
        raise _refused(error, name, host, door) from error
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(15)
    return client


class _Refuse:
    """What paramiko asks about an unknown host key: refuses it, and says how to accept it."""

    def __init__(self, who: str, port: int) -> None:
        self._who = who
        self._option = f" -p {port}" if port != 22 else ""

    def missing_host_key(self, _client: object, _name: str, key: paramiko.PKey) -> None:
        digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
        raise HostKeyError(
            f"The host key of {self._who} is not known here: {key.get_name()} SHA256:{digest}.",
            "Compare it with the device's own, then accept it with: "
            f"ssh{self._option} {self._who} true",
        )


def _refused(error: Exception, user: str, host: str, port: int) -> Exception:
    """Return what a failed login means."""
    import paramiko

    where = printable(f"{user}@{host}") + (f" port {port}" if port != 22 else "")
    if isinstance(error, DeviceError | UnavailableError):
        return error
    if isinstance(error, paramiko.BadHostKeyException):
        name = host if port == 22 else f"[{host}]:{port}"
        return HostKeyError(
            f"The host key of {where} is not the one that is known: either it was installed anew, "
            "or another machine answers in its place.",
            f"If it was, forget the old key with: ssh-keygen -R '{name}'",
        )
    if isinstance(error, paramiko.PasswordRequiredException):
        return DeviceError(
            f"The key for {where} is locked by a passphrase.", "Unlock it with: ssh-add"
        )
    if isinstance(error, paramiko.AuthenticationException):
        return DeviceError(
            f"{where} did not let us in: none of your keys is allowed there.",
            f"Allow one with: ssh-copy-id {user}@{host}",
        )
    said = printable(str(getattr(error, "strerror", None) or error) or type(error).__name__)
    return DeviceError(
        f"{where} cannot be reached: {said}.", "Is it switched on, and on this network?"
    )


# -- ~/.ssh/config ---------------------------------------------------------------------------------


def _options(alias: str) -> Mapping[str, Any]:
    import paramiko

    config = paramiko.SSHConfig()
    for path in (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")):
        with contextlib.suppress(OSError), path.open() as lines:
            try:
                config.parse(lines)
            except (paramiko.SSHException, ValueError) as error:
                raise DeviceError(f"{path} cannot be read: {error}.") from error
    found: Mapping[str, Any] = config.lookup(alias)
    return found


def _known_hosts(options: Mapping[str, Any]) -> list[Path]:
    users = options.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    shared = options.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")
    return [Path(word).expanduser() for word in f"{users} {shared}".split()]


def _exists(key: str) -> bool:
    return Path(key).expanduser().exists()


def _socket(host: str, port: int, options: Mapping[str, Any], depth: int) -> Any:
    """Return what the connection runs over: a socket, a command, or a channel of a jump host."""
    import paramiko

    jumps = options.get("proxyjump", "none")
    if jumps.lower() != "none":
        if depth > 8:
            raise DeviceError(f"The jump hosts of {host} lead in a circle.")
        *_, last = jumps.split(",")
        client = _login(last.strip().removeprefix("ssh://"), depth=depth + 1)
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_channel(
            "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=_PATIENCE
        )
        channel.jump_host = client  # lives as long as the channel
        return channel
    command = options.get("proxycommand", "none")
    if command.lower() != "none":
        return paramiko.ProxyCommand(command)
    return socket.create_connection((host, port), timeout=_PATIENCE)


# -- The link --------------------------------------------------------------------------------------


class _Ssh:
    folder = "/var/tmp"  # noqa: S108 - workspaces have unpredictable names and are private

    def __init__(self, client: paramiko.SSHClient) -> None:
        self._client = client
        self._sftp: paramiko.SFTPClient | None = None

    def start(self) -> Channel:
        return _Shell(self._channel())

    def _channel(self) -> paramiko.Channel:
        import paramiko

        transport = self._client.get_transport()
        if transport is None:
            raise ConnectionError("the connection is closed")
        try:
            return transport.open_session(timeout=_PATIENCE)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionError(str(error) or "the connection is closed") from error

    def _files(self) -> paramiko.SFTPClient:
        import paramiko

        if self._sftp is None:
            channel = self._channel()
            channel.settimeout(_PATIENCE)
            try:
                channel.invoke_subsystem("sftp")
                self._sftp = paramiko.SFTPClient(channel)
            except paramiko.SSHException as error:
                raise OSError("its SSH server offers no SFTP") from error
        return self._sftp

    def send(self, local: Path, remote: PurePosixPath, done: int) -> None:
        import paramiko

        try:
            with (
                local.open("rb") as source,
                self._files().open(str(remote), "r+b" if done else "wb") as aim,
            ):
                # Not pipelined: signs of life would queue behind megabytes, and errors go unseen.
                source.seek(done)
                aim.seek(done)
                while data := source.read(_CHUNK):
                    aim.write(data)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionError(str(error) or "the connection is closed") from error

    def fetch(self, remote: PurePosixPath, local: Path) -> None:
        import paramiko

        try:
            self._files().get(str(remote), str(local))
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionError(str(error) or "the connection is closed") from error

    def close(self) -> None:
        transport = self._client.get_transport()
        jump = getattr(getattr(transport, "sock", None), "jump_host", None)
        self._client.close()
        if jump is not None:
            jump.close()


class _Shell:
    """A remote shell; see `edgekit.transports.Channel`."""

    def __init__(self, channel: paramiko.Channel) -> None:
        import paramiko

        self._channel = channel
        self._pieces: queue.Queue[tuple[str, bytes]] = queue.Queue()
        try:
            # A constant: what is foreign goes into the script, so that no login shell reads it.
            channel.exec_command("exec sh -s edgekit")
        except paramiko.SSHException as error:
            raise ConnectionError(str(error) or "the connection is closed") from error
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        errors = threading.Thread(target=self._pump_errors, daemon=True)
        errors.start()
        with contextlib.suppress(OSError):
            while data := self._channel.recv(2**16):
                self._pieces.put(("out", data))
        errors.join()
        self._pieces.put(("end", b""))

    def _pump_errors(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._channel.recv_stderr(2**16):
                self._pieces.put(("err", data))

    def write(self, data: bytes) -> None:
        """Write to its standard input."""
        with contextlib.suppress(OSError):
            self._channel.sendall(data)

    def end(self) -> None:
        """Close its standard input."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def read(self, timeout: float) -> tuple[str, bytes] | None:
        """Return the next piece of output, or None when there is none for `timeout` seconds."""
        try:
            return self._pieces.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Let go of it."""
        self._channel.close()
