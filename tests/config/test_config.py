"""The configuration file and its environment: what is accepted, and what a user is told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from etl.config import Settings, duration, load, size
from etl.errors import UsageError

RECORDER = '[[recorder]]\nname = "ny-1"\nhost = "recorder.example"\nport = 10100\n'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def given(tmp_path: Path) -> Callable[[str], Settings]:
    def read(text: str) -> Settings:
        path = tmp_path / "cdr.toml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return read


def test_defaults_are_those_of_the_documentation(given: Callable[[str], Settings]) -> None:
    settings = given(RECORDER)
    assert settings.worker.margin == timedelta(seconds=1)
    assert settings.worker.journal_limit == 10_000_000_000
    assert settings.worker.document_limit == 64_000_000
    assert settings.http.listen == "127.0.0.1:9464"
    assert settings.recorder[0].detail_concurrency == 8
    assert settings.recorder[0].located == "ny-1"


def test_a_recorder_takes_what_it_does_not_say_from_the_defaults(given: Callable[[str], Settings]) -> None:
    settings = given(f'[recorder_defaults]\ntimezone = "America/New_York"\ndetail_concurrency = 3\n{RECORDER}')
    assert settings.recorder[0].timezone.key == "America/New_York"
    assert settings.recorder[0].detail_concurrency == 3


def test_environment_overrides_scalar_keys(given: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDR_WORKER__MARGIN", "3s")
    monkeypatch.setenv("CDR_RECORDER_DEFAULTS__TIMEZONE", "Europe/Budapest")
    settings = given(f'[worker]\nmargin = "2s"\ndata_dir = "data"\n{RECORDER}')
    assert settings.worker.margin == timedelta(seconds=3)
    assert settings.worker.data_dir.name == "data"
    assert settings.recorder[0].timezone.key == "Europe/Budapest"


@pytest.mark.parametrize("name", ["CDR_WORKER__MARGN", "CDR_RECORDER", "CDR_HISTORY__FILES__ROOTS", "CDR_DATABASE"])
def test_unknown_variables_are_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(UsageError, match=f"unknown environment variable {name}"):
        load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[worker]\nmargn = '1s'", r"unknown key worker\.margn"),
        ("[worker]\nmargin = '1'", r"worker\.margin = '1': write a number and a unit"),
        ("[worker]\nmargin = '0s'", r"worker\.margin = '0s': must be more than zero"),
        ("[worker]\njournal_limit = 'big'", r"worker\.journal_limit = 'big'"),
        (RECORDER.replace("10100", "99999"), r'recorder\["ny-1"\]\.port = 99999'),
        (RECORDER.replace("port = 10100\n", ""), r'recorder\["ny-1"\]\.port is missing'),
        (RECORDER + "timezone = 'Mars/North'", r"timezone = 'Mars/North': write an IANA zone"),
        (RECORDER + RECORDER, 'two recorders share the name "ny-1"'),
        ("[recorder_defaults]\nname = 'x'", r"unknown key recorder_defaults\.name"),
        ("[database]\nurl = 'mysql://x'", r"database\.url: write a URL"),
        ("[database]\nurl = 'postgresql://h/d'\nembedded = true", "give one of url, url_file and embedded"),
        ("[database]\nurl_file = 'nowhere'", r"database\.url_file = .*nowhere.* cannot be read"),
        ("[http]\nlisten = 'here'", r"http\.listen = 'here'"),
        ("[http]\nlisten = '127.0.0.1:70000'", r"http\.listen = '127\.0\.0\.1:70000': write an address and a port"),
        ("recorder = 3", "recorder = 3"),
        ("=", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_key_value_and_remedy(
    text: str, message: str, given: Callable[[str], Settings]
) -> None:
    with pytest.raises(UsageError, match=message):
        given(text)


def test_every_mistake_is_told_at_once(given: Callable[[str], Settings]) -> None:
    with pytest.raises(UsageError) as told:
        given("[worker]\nmargin = '1'\n[http]\nport = 1")
    assert "worker.margin" in str(told.value)
    assert "unknown key http.port" in str(told.value)


def test_secrets_are_never_shown(given: Callable[[str], Settings], tmp_path: Path) -> None:
    settings = given("[database]\nurl = 'postgresql://u:s3cret@h/d'\n[history.http]\nurl='https://h'\napi_key='k3y'")
    assert "s3cret" not in repr(settings)
    assert "k3y" not in repr(settings)
    with pytest.raises(UsageError) as told:
        given("[database]\nurl = 'mysql://u:s3cret@h/d'\n[history.http]\nurl='https://h'\napi_key=5511")
    assert "s3cret" not in str(told.value)
    assert "5511" not in str(told.value)


def test_a_secret_can_stand_in_a_file(given: Callable[[str], Settings], tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgres://u:s3cret@h/d\n")
    settings = given("[database]\nurl_file = 'url'")
    assert settings.database.url is not None
    assert settings.database.url.get_secret_value() == "postgresql://u:s3cret@h/d"


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "my.toml").write_text(RECORDER + "tls = { ca = 'ca.pem' }\n")
    monkeypatch.setenv("CDR_CONFIG", str(tmp_path / "etc" / "my.toml"))
    settings = load()
    assert settings.worker.data_dir == tmp_path / "etc" / "var"
    assert settings.recorder[0].tls is not None
    assert settings.recorder[0].tls.ca == tmp_path / "etc" / "ca.pem"


def test_the_file_is_found_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("given", "named", "cdr"):
        (tmp_path / f"{name}.toml").write_text(f"[worker]\ndata_dir = '{name}'\n")
    assert load().worker.data_dir.name == "cdr"
    monkeypatch.setenv("CDR_CONFIG", "named.toml")
    assert load().worker.data_dir.name == "named"
    assert load(Path("given.toml")).worker.data_dir.name == "given"


def test_a_file_that_is_named_must_be_readable() -> None:
    with pytest.raises(UsageError, match=r"cannot read the configuration nowhere\.toml"):
        load(Path("nowhere.toml"))


def test_units() -> None:
    assert duration("500ms") == timedelta(milliseconds=500)
    assert duration("1.5m") == timedelta(seconds=90)
    assert size("64MB") == 64_000_000
    assert size("1GiB") == 1 << 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[worker]\nmargin = "99999999999999w"', "worker.margin.*century"),
        ('[worker]\nmargin = "%ss"' % ("9" * 400), "worker.margin.*century"),
        ('[worker]\njournal_limit = "%sTB"' % ("9" * 400), "worker.journal_limit.*bytes"),
        ('[worker]\ndata_dir = "~nobody-like-this/x"', "worker.data_dir.*no such user"),
        ('[database]\nurl_file = "a\\u0000b"', "database.url_file.*NUL"),
        ("a = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ('[recorder_defaults]\ntimezone = "%s"' % ("a/" * 2000 + "b"), "recorder_defaults.timezone"),
    ],
    ids=[
        "absurd wait",
        "endless wait",
        "endless size",
        "no home",
        "NUL",
        "deep nesting",
        "thousands of digits",
        "deep zone",
    ],
)
def test_what_python_chokes_on_is_refused_like_any_bad_value(
    text: str, said: str, given: Callable[[str], Settings]
) -> None:
    with pytest.raises(UsageError, match=said):
        given(text)


def test_a_variable_in_small_letters_is_checked_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("cdr_worker", "{")
    with pytest.raises(UsageError, match="unknown environment variable cdr_worker"):
        load()


def test_a_variable_that_is_no_text_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDR_HISTORY__HTTP__PASSWORD", "\udcff")
    with pytest.raises(UsageError, match="CDR_HISTORY__HTTP__PASSWORD is not valid UTF-8"):
        load()
