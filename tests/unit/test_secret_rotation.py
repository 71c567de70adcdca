"""A standalone instance replaces its own secret, and a crash at any moment loses none."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from groupspaces import secret_file
from groupspaces.deployment_secrets import ensure_secret, rotate_secret, with_secrets
from groupspaces.errors import SettingsError
from groupspaces.keys import KeyRing
from groupspaces.settings import load
from groupspaces.signing import Signer
from groupspaces.web.cookies import SESSION_COOKIE, SessionCookies

OLD, NEW = "o" * 40, "n" * 40


def test_what_a_rotation_replaces_is_kept(tmp_path: Path) -> None:
    settings = load({})
    first = ensure_secret(settings, tmp_path)
    rotate_secret(settings, tmp_path)
    second = ensure_secret(settings, tmp_path)
    rotate_secret(settings, tmp_path)
    auth = with_secrets(settings, tmp_path).auth
    assert len({first, second, auth.secret}) == 3
    assert auth.previous_secrets == (second, first)
    for name in ("secret", "secret.previous"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "secret.previous"]
    assert with_secrets(with_secrets(settings, tmp_path), tmp_path).auth == auth


def test_a_setting_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^auth\.secret is a setting here"):
        rotate_secret(load({"AUTH_SECRET": OLD}), tmp_path)
    assert list(tmp_path.iterdir()) == []
    settings = with_secrets(load({"AUTH_SECRET": NEW, "AUTH_SECRET_PREVIOUS": f"{OLD},{NEW}"}), tmp_path)
    assert (settings.auth.secret, settings.auth.previous_secrets) == (NEW, (OLD,))


def test_previous_secrets_of_the_settings_count_beside_those_of_the_file(tmp_path: Path) -> None:
    settings = load({"AUTH_SECRET_PREVIOUS": OLD})
    first = ensure_secret(settings, tmp_path)
    rotate_secret(settings, tmp_path)
    assert with_secrets(settings, tmp_path).auth.previous_secrets == (OLD, first)


@pytest.mark.parametrize("step", [1, 2])
def test_a_crash_between_the_steps_loses_no_secret(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({})
    first = ensure_secret(settings, tmp_path)
    done, replace_whole = 0, secret_file._replace_whole

    def crashing(path: Path, content: str) -> None:
        nonlocal done
        done += 1
        if done == step:
            raise OSError("no more")
        replace_whole(path, content)

    monkeypatch.setattr(secret_file, "_replace_whole", crashing)
    with pytest.raises(SettingsError, match="could not be replaced: no more"):
        rotate_secret(settings, tmp_path)
    auth = with_secrets(settings, tmp_path).auth
    assert (auth.secret, auth.previous_secrets) == (first, ())


def _rotate(folder: str) -> None:
    rotate_secret(load({}), Path(folder))


def test_rotations_at_the_same_time_keep_what_each_replaced(tmp_path: Path) -> None:
    first = ensure_secret(load({}), tmp_path)
    context = multiprocessing.get_context("spawn")
    racers = [context.Process(target=_rotate, args=(str(tmp_path),)) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    auth = with_secrets(load({}), tmp_path).auth
    assert len({auth.secret, *auth.previous_secrets}) == 4
    assert auth.previous_secrets[-1] == first


@pytest.mark.parametrize("content", [b"short\n", b"\xff" * 64])
def test_damaged_previous_secrets_are_named_and_nothing_is_replaced(tmp_path: Path, content: bytes) -> None:
    first = ensure_secret(load({}), tmp_path)
    (tmp_path / "secret.previous").write_bytes(content)
    for act in (rotate_secret, with_secrets):
        with pytest.raises(SettingsError, match="which holds previous secrets"):
            act(load({}), tmp_path)
    assert ensure_secret(load({}), tmp_path) == first


def test_what_instances_sign_is_known_by_every_secret_of_ours() -> None:
    old, both, new = Signer(KeyRing(OLD)), Signer(KeyRing(NEW, [OLD])), Signer(KeyRing(NEW))
    by_old, by_both = old.sign("doorbell", b"x"), both.sign("doorbell", b"x")
    assert [both.secret_of("doorbell", b"x", signature) for signature in (by_both, by_old)] == [0, 1]
    assert new.is_signed("doorbell", b"x", by_both)
    assert not new.is_signed("doorbell", b"x", by_old)
    assert not both.is_signed("forward", b"x", by_both)
    assert not both.is_signed("doorbell", b"y", by_both)
    assert not both.is_signed("doorbell", b"x", "é" * 64)


def test_a_cookie_of_a_previous_secret_is_signed_anew_and_others_are_not() -> None:
    old, both, new = (
        SessionCookies(ring, secure=False) for ring in (KeyRing(OLD), KeyRing(NEW, [OLD]), KeyRing(NEW))
    )
    _, set_cookie = old.issue("token", 7, 60)
    sent = b"theme=dark; " + set_cookie.partition(b";")[0]
    renewed = both.renewed(sent, 60)
    assert renewed is not None
    value = renewed[1].partition(b";")[0].removeprefix(f"{SESSION_COOKIE}=".encode())
    assert new.open(value) == ("token", 7)
    assert both.renewed(f"{SESSION_COOKIE}=".encode() + value, 60) is None
    assert new.renewed(sent, 60) is None
    assert both.renewed(f"{SESSION_COOKIE}=made.7.up".encode(), 60) is None
    assert both.renewed(b"", 60) is None
