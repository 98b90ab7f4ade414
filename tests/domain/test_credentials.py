"""No password remains in a text, and nothing else is changed."""

from __future__ import annotations

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.credentials import masked, require_maskable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg2://me:hunter2@db.example:5432/x", "postgresql+psycopg2://***@db.example:5432/x"),
        ("uri: 'https://me:p%40ss@host/a'\nother: 1", "uri: 'https://***@host/a'\nother: 1"),
        ("http://token@host, http://a:b@c", "http://***@host, http://***@c"),
        (
            "postgresql://h/db?password=hunter2&sslmode=require",
            "postgresql://h/db?password=***&sslmode=require",
        ),
        ("http://h/x?a=1&API_KEY=k", "http://h/x?a=1&API_KEY=***"),
        ("postgresql://u:pa/ssW0rd@127.0.0.1:1/db", "postgresql://***@127.0.0.1:1/db"),
        ("mysql+pymysql://u:p@ss/w@h/db", "mysql+pymysql://***@h/db"),
        (
            "s3://b?aws_secret_access_key=k&access_token=t&region=x",
            "s3://b?aws_secret_access_key=***&access_token=***&region=x",
        ),
        ("http://h/path@3.csv", "http://h/path@3.csv"),
        ("http://h:8080/path@3.csv", "http://h:8080/path@3.csv"),
        ("https://u:S3c/ret@host", "https://***@host"),
        ("cockroachdb://u:p/w@h/db", "cockroachdb://***@h/db"),
        ("see //u:p@h/x", "see //***@h/x"),
        ("mssql+pyodbc:///?odbc_connect=D%3Dx%3BPWD%3DS3", "mssql+pyodbc:///?odbc_connect=***"),
        ("https://h/c?sv=1&sig=abc&auth=x", "https://h/c?sv=1&sig=***&auth=***"),
        ("mssql+pyodbc://h/db?driver=x;PWD=S3", "mssql+pyodbc://h/db?driver=x;PWD=***"),
        ("postgresql://h/db?user=u&pw=S3", "postgresql://h/db?user=u&pw=***"),
        ("cannot use 'http:/u:S3@h'", "cannot use 'http:/***@h'"),
        ("postgresql:u:S3@h/db", "postgresql:***@h/db"),
        ("https:///u:SECRET@127.0.0.1", "https:///***@127.0.0.1"),
        ("https:/u:pa/SECRET@h", "https:/***@h"),
        ("postgresql://carbon@srv:it's-SECRET7@127.0.0.1:1/db", "postgresql://***@127.0.0.1:1/db"),
        ("https://jane@firm.invalid:a/SECRET7@mlflow.invalid", "https://***@mlflow.invalid"),
        ("https//user:SECRET@h", "https//***@h"),
        ("http://h/c?jwt=S3&sas=S3", "http://h/c?jwt=***&sas=***"),
        ("grid.url=htp:/me:S3@h is no address", "grid.url=htp:/***@h is no address"),
        ("{tracking.uri=[https://me:S3@h]}", "{tracking.uri=[https://***@h]}"),
        ("models:/name@alias", "models:/name@alias"),
        ("model@extra_models.NAME=x me@example.org", "model@extra_models.NAME=x me@example.org"),
        ("sqlite:////tmp/a@b/mlflow.db", "sqlite:////tmp/a@b/mlflow.db"),
    ],
)
def test_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("postgresql://me:it's@h/db", False),
        ("postgresql+psycopg2://me:a b/c@h/db", False),
        ('http://me:a"b@h', False),
        ("postgresql://h/db?password=S3'CRET", False),
        ("https://user:pa/ss'SECRET@127.0.0.1", False),
        ("https://user:pa/ss SECRET@127.0.0.1", False),
        ("postgresql://h/db?user=u&password=S3 CRET", False),
        ("postgresql://me:it%27s@h/db", True),
        ("sqlite:////home/my folder/a@b/mlflow.db", True),
        ("postgresql://carbon@srv:it's-SECRET7@127.0.0.1:1/db", False),
        ("https://jane@firm.invalid:a/SECRET7@mlflow.invalid", False),
        ("postgresql://carbon@srv:SECRET@127.0.0.1:1/db", True),
        ("https://user:443/SECRET@127.0.0.1", False),
        ("https://token/SECRET@127.0.0.1", False),
        ("https://u:p@127.0.0.1/a/b", True),
        ("http://h/my path/x%40y", True),
    ],
)
def test_a_password_that_would_stay_is_refused_without_it(address: str, good: bool) -> None:
    if good:
        require_maskable("tracking.uri", address)
        return
    with pytest.raises(ConfigError, match=r"^tracking\.uri: a space, quote or slash") as caught:
        require_maskable("tracking.uri", address)
    assert "h/db" not in str(caught.value)
