"""The configuration: one TOML file, overridden by `CDR_…` environment variables (section 2 of the contract).

`load()` is the only entry. Whatever is wrong (an unknown key or variable, a bad value, an unreadable file)
becomes one `UsageError` that names the key, the value (unless it may be a secret) and what is allowed.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from etl.errors import UsageError

PREFIX = "CDR_"
SEARCHED = (Path("cdr.toml"), Path("/etc/cdr/cdr.toml"))

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)", re.IGNORECASE)
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
LONGEST = timedelta(days=36_525)
"""A century: a longer wait is a mistake, and a time so far off may lie outside of the calendar."""
LARGEST = 10**18
"""Bytes; no disk is larger, and SQLite counts no further than nine times as many."""


def duration(value: object) -> timedelta:
    """Read `500ms`, `5s`, `1.5m`, `2h`, `7d`, `1w`; raises ValueError that says what is allowed."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, timedelta):
        return value
    if match is None:
        raise ValueError('write a number and a unit, such as "500ms", "10s", "5m", "2h" or "7d"')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST.total_seconds():
        raise ValueError("is longer than a century")
    return timedelta(seconds=seconds)


def size(value: object) -> int:
    """Read `64MB` (powers of 1000) or `64MiB` (powers of 1024) as bytes; raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _possible(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a number and a unit, such as "64MB", "10GB" or "1GiB"')
    unit = match[2].lower()
    return _possible(float(match[1]) * (1024 if "i" in unit else 1000) ** _POWERS[unit[0]])


def _possible(size: float) -> int:
    if not 0 <= size <= LARGEST:
        raise ValueError(f"must be from 0 to {LARGEST} bytes")
    return int(size)


_LONGEST_ZONE = 100


def _zone(value: object) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        if len(str(value)) > _LONGEST_ZONE:  # each part of a name would be looked for as a package
            raise ValueError
        return ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError('write an IANA zone, such as "UTC", "America/New_York" or "Europe/Budapest"') from None


_HOST = r"(?:\[[^\]@/?]*\]|[^\[\]:@/?,]*)(?::\d*)?"
_PLACE = re.compile(rf"(?:[^@/]*@)?{_HOST}(?:,{_HOST})*(?:/[^@?]*)?(?:\?.*)?")
"""What follows the scheme of a database's URL: login, hosts, name, parameters."""

N = TypeVar("N", timedelta, int)


def _positive(value: N) -> N:
    if not value:
        raise ValueError("must be more than zero")
    return value


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (port.isdecimal() and int(port) <= 65535 and (":" not in host or host.startswith("["))):
        raise ValueError('write an address and a port, such as "127.0.0.1:9464" or "[::1]:9464", or "" for none')
    return value


def _postgres_url(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not re.match(r"postgres(ql)?(\+psycopg)?://", text):
        hint = 'write a URL such as "postgresql://user@host:5432/name"'
        raise ValueError(f"{hint} (the value is not shown: it may hold a password)")
    if not _PLACE.fullmatch(text.partition("://")[2]):
        # The rest of a password would be taken for a host, a port or a name, and be shown as such.
        raise ValueError(
            "no URL such as postgresql://user@host:5432/name: in a password @ is written as %40, / as %2F and % as %25,"
            " and a port is a number (the value is not shown: it may hold a password)"
        )
    return re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", text)


def _path(value: Path) -> Path:
    """With the home folder in place of `~`."""
    if "\0" in str(value):
        raise ValueError("a path cannot hold the character NUL")
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("there is no such user, or no home folder; write the path in full") from None


Duration = Annotated[timedelta, BeforeValidator(lambda value: _positive(duration(value)))]
Size = Annotated[int, BeforeValidator(lambda value: _positive(size(value)))]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
Port = Annotated[int, Field(ge=1, le=65535)]
Listen = Annotated[str, AfterValidator(_listen)]
LocalPath = Annotated[Path, AfterValidator(_path)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Database(_Table):
    """Where the archive lives: a URL, or a PostgreSQL of our own under `data_dir`."""

    url: Annotated[SecretStr | None, BeforeValidator(_postgres_url)] = None
    url_file: LocalPath | None = None
    embedded: bool = False

    @model_validator(mode="after")
    def _one_of(self) -> Database:
        if sum((self.url is not None, self.url_file is not None, self.embedded)) > 1:
            raise ValueError("give one of url, url_file and embedded = true, not several")
        return self


class Worker(_Table):
    """How the worker behaves; durations as timedelta, sizes in bytes."""

    data_dir: LocalPath = Path("var")
    reconcile_every: Duration = timedelta(minutes=5)
    backfill_gaps: bool = True
    journal_limit: Size = 10 * 1000**3
    refetch_after: Duration = timedelta(seconds=60)
    detail_give_up: Duration = timedelta(minutes=10)
    margin: Duration = timedelta(seconds=1)
    document_limit: Size = 64 * 1000**2


class Http(_Table):
    """The worker's own endpoints; an empty `listen` turns them off."""

    listen: Listen = "127.0.0.1:9464"


class Tls(_Table):
    """TLS to a recorder. `ca`: trusted authority (default: the system's); `certificate`, `key`: ours."""

    ca: LocalPath | None = None
    certificate: LocalPath | None = None
    key: LocalPath | None = None

    @model_validator(mode="after")
    def _pair(self) -> Tls:
        if self.key is not None and self.certificate is None:
            raise ValueError("key is given without certificate")
        return self


class RecorderDefaults(_Table):
    """What all recorders share unless their own entry says otherwise."""

    port: Port | None = None
    timezone: Zone = ZoneInfo("UTC")
    extensions: tuple[str, ...] = ()
    connect_timeout: Duration = timedelta(seconds=5)
    request_timeout: Duration = timedelta(seconds=10)
    probe_every: Duration = timedelta(seconds=30)
    detail_concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    tls: Tls | None = None
    dialect: Mapping[str, Any] = Field(default_factory=dict)


class Recorder(RecorderDefaults):
    """One recorder. `location` is how its records name it, compared without case."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    host: Annotated[str, Field(min_length=1)]
    port: Port
    location: str = ""

    @property
    def located(self) -> str:
        """The location that means this recorder, folded for comparison."""
        return (self.location or self.name).casefold()


class HistoryHttp(_Table):
    """The history over HTTP. Its `url` may hold no login, which is refused before it is used."""

    url: str = Field(repr=False)
    api_key: SecretStr | None = None
    api_key_file: LocalPath | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: LocalPath | None = None
    timezone: Zone = ZoneInfo("UTC")
    delay: Duration = timedelta(minutes=15)
    ca: LocalPath | None = None


class HistoryFiles(_Table):
    """The history in metadata XML files."""

    roots: tuple[LocalPath, ...]
    timezone: Zone = ZoneInfo("UTC")
    delay: Duration = timedelta(minutes=15)


class History(_Table):
    """Where calls can be found that no session saw."""

    http: HistoryHttp | None = None
    files: HistoryFiles | None = None


class Retention(_Table):
    """How long calls are kept."""

    keep: Annotated[str, Field(pattern=r"^[1-9]\d*[dwy]$")] | None = None


class Settings(BaseSettings):
    """The whole configuration, checked; all paths absolute."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", arbitrary_types_allowed=True
    )

    database: Database = Database()
    worker: Worker = Worker()
    http: Http = Http()
    recorder_defaults: RecorderDefaults = RecorderDefaults()
    recorder: tuple[Recorder, ...] = ()
    history: History = History()
    retention: Retention = Retention()

    @model_validator(mode="before")
    @classmethod
    def _apply_defaults(cls, raw: dict[str, Any]) -> dict[str, Any]:
        defaults, entries = raw.get("recorder_defaults", {}), raw.get("recorder", ())
        if not isinstance(defaults, dict) or not isinstance(entries, list):
            return raw
        merged = [{**defaults, **entry} if isinstance(entry, dict) else entry for entry in entries]
        return {**raw, "recorder": merged}

    @model_validator(mode="after")
    def _unique(self) -> Settings:
        for what in ("name", "located"):
            seen: set[str] = set()
            for recorder in self.recorder:
                value = getattr(recorder, what)
                if value in seen:
                    raise ValueError(f'two recorders share the {what.replace("located", "location")} "{value}"')
                seen.add(value)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment speaks before the file, which comes in as init arguments."""
        return (env_settings, init_settings)

    def named(self, name: str) -> Recorder:
        """The recorder called `name`; raises UsageError that lists the known ones."""
        for recorder in self.recorder:
            if recorder.name == name:
                return recorder
        known = ", ".join(recorder.name for recorder in self.recorder) or "none"
        raise UsageError(f'no recorder is called "{name}"; configured: {known}')

    def locations(self) -> dict[str, str]:
        """Folded location -> recorder name."""
        return {recorder.located: recorder.name for recorder in self.recorder}


def load(path: Path | None = None) -> Settings:
    """Find, read and check the configuration.

    `path` is `--config`; without it `$CDR_CONFIG`, `./cdr.toml`, `/etc/cdr/cdr.toml` are tried, and without
    any file the defaults and the environment alone apply. Raises UsageError.
    """
    _refuse_unknown_variables(os.environ)
    found = _find(path, os.environ)
    raw = _read(found) if found else {}
    source = str(found) if found else "the environment"
    try:
        settings = Settings(**raw)
    except ValidationError as error:
        raise UsageError(_explain(error, source, raw)) from None
    base = found.resolve().parent if found else Path.cwd()
    return _with_secrets(_anchored(settings, base))


def _find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    named = path or (Path(env["CDR_CONFIG"]) if env.get("CDR_CONFIG") else None)
    if named is not None:
        return named
    return next((candidate for candidate in SEARCHED if candidate.exists()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from None
    except RecursionError:
        raise UsageError(f"{path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def _scalar_keys(model: type[BaseModel], prefix: str = PREFIX) -> Iterator[str]:
    """The variables that may be set: one for each scalar key outside `[[recorder]]`."""
    for name, field in model.model_fields.items():
        nested = [part for part in _parts(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
        listed = "tuple" in str(field.annotation) or "Mapping" in str(field.annotation)
        if nested and not listed:
            yield from _scalar_keys(nested[0], f"{prefix}{name.upper()}__")
        elif not listed:
            yield f"{prefix}{name.upper()}"


def _parts(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def _refuse_unknown_variables(env: Mapping[str, str]) -> None:
    """Upper or lower case makes no difference to the names, here as where they are read."""
    allowed = {*_scalar_keys(Settings), f"{PREFIX}CONFIG"}
    ours = sorted(name for name in env if name.upper().startswith(PREFIX))
    unknown = [name for name in ours if name.upper() not in allowed]
    if unknown:
        raise UsageError(
            f"unknown environment variable {', '.join(unknown)}. Variables that begin with {PREFIX} set a scalar key "
            f"of the configuration ([[recorder]] entries can't be set this way): {', '.join(sorted(allowed))}"
        )
    for name in ours:
        if not env[name].isascii() and any("\ud800" <= char <= "\udfff" for char in env[name]):
            raise UsageError(f"the environment variable {name} is not valid UTF-8")


_SECRET = ("url", "key", "password")


def _explain(error: ValidationError, source: str, raw: Mapping[str, Any]) -> str:
    lines = [_explain_one(dict(problem), raw) for problem in error.errors(include_url=False)]
    return f"{source}: " + "; ".join(dict.fromkeys(lines))


def _explain_one(problem: dict[str, Any], raw: Mapping[str, Any]) -> str:
    key = _key(problem["loc"], raw)
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    value = problem.get("input")
    table = problem["type"] in ("model_type", "model_attributes_type", "dict_type")  # a URL in its place has a password
    hidden = table or any(word in key for word in _SECRET) or isinstance(value, dict | tuple | list)
    shown = "" if hidden else f" = {value!r}"
    return f"{key}{shown}: {reason}" if key else reason


def _key(location: tuple[str | int, ...], raw: Mapping[str, Any]) -> str:
    """`recorder["ny-1"].port` rather than `recorder.0.port`: users know their recorders by name."""
    words: list[str] = []
    for part in location:
        if isinstance(part, int) and words == ["recorder"]:
            entry = raw["recorder"][part]
            name = entry.get("name", part + 1) if isinstance(entry, dict) else part + 1
            words[-1] = f"recorder[{name!r}]".replace("'", '"')
        else:
            words.append(str(part))
    return ".".join(words)


T = TypeVar("T")


def _anchored(value: T, base: Path) -> T:
    """The same settings with every relative path taken from `base`."""
    if isinstance(value, Path):
        return cast("T", base / value)
    if isinstance(value, BaseModel):
        changed = {name: _anchored(getattr(value, name), base) for name in type(value).model_fields}
        return cast("T", value.model_copy(update=changed))
    if isinstance(value, tuple):
        return cast("T", tuple(_anchored(item, base) for item in value))
    return value


def _with_secrets(settings: Settings) -> Settings:
    """Read every `…_file` secret into the key it stands for."""
    database = settings.database
    if database.url_file is not None:
        try:
            url = _postgres_url(_secret("database.url_file", database.url_file))
        except ValueError as error:
            raise UsageError(f"database.url_file = {str(database.url_file)!r}: {error}") from None
        database = database.model_copy(update={"url": SecretStr(str(url))})
    http = settings.history.http
    if http is not None:
        for key in ("api_key", "password"):
            path = getattr(http, f"{key}_file")
            if path is not None:
                http = http.model_copy(update={key: SecretStr(_secret(f"history.http.{key}_file", path))})
    history = settings.history.model_copy(update={"http": http})
    return settings.model_copy(update={"database": database, "history": history})


def _secret(key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{key} = {str(path)!r} cannot be read: {error}") from None
