"""What people are written about their accounts.

Owns the texts, in plain English. They name nobody: whoever makes an account for somebody else's address chooses the name in it, and would
choose what we write there. They say what happened, what to do, and what to do if it was somebody else.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from groupspaces.features.accounts.links import Link
from groupspaces.mail import Letter

_PRODUCT = "Group Spaces"


class Letters:
    """Write letters for one installation."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url
        self._place = f"{_PRODUCT} at {urlsplit(public_url).netloc}"

    def reset(self, to: str, link: Link) -> Letter:
        """Let somebody choose a new password who has forgotten theirs."""
        return self._letter(
            "reset",
            to,
            "Choose a new password",
            f"somebody, most likely you, asked for a new password for your account with {self._place}.",
            "Open this link to choose one. It works once, within an hour:",
            link.url,
            "If it was not you, do nothing: your password stays as it is.",
        )

    def reset_by_operator(self, to: str, link: Link) -> Letter:
        """Let somebody choose a new password for whom an operator has asked."""
        return self._letter(
            "reset",
            to,
            "Choose a new password",
            f"an operator of {self._place} sends you this link to choose a new password.",
            "It works once, within 24 hours:",
            link.url,
            "If you did not ask for it, do nothing: your password stays as it is.",
        )

    def new_account(self, to: str, link: Link) -> Letter:
        """Welcome somebody for whom an operator has made an account."""
        return self._letter(
            "new_account",
            to,
            "Your new account",
            f"an operator has made an account for you with {self._place}.",
            "Open this link to choose your password. It works once, within 24 hours:",
            link.url,
            "If you expected nothing of the kind, do nothing: nobody can use the account without this link.",
        )

    def verify(self, to: str, link: Link) -> Letter:
        """Have somebody confirm that the address of their account is theirs."""
        return self._letter(
            "verify",
            to,
            "Confirm your e-mail address",
            f"an account with {self._place} was opened with this address.",
            "Open this link to confirm that it is yours. It works once, within 7 days:",
            link.url,
            "If it was not you, do nothing: the address stays unconfirmed.",
        )

    def change_address(self, to: str, link: Link) -> Letter:
        """Have somebody confirm the new address of their account."""
        return self._letter(
            "change_address",
            to,
            "Confirm your new e-mail address",
            f"somebody, most likely you, wants to use this address for their account with {self._place}.",
            "Open this link to confirm it, in the browser that is signed in. It works once, within an hour:",
            link.url,
            "If it was not you, do nothing: nothing will change.",
        )

    def address_changed(self, to: str) -> Letter:
        """Tell the old address that the account has a new one."""
        return self._letter(
            "address_changed",
            to,
            "Your e-mail address was changed",
            f"your account with {self._place} now has another e-mail address. We write to this one for the last time.",
            "If it was not you, write to an operator at once: somebody else may be using your account.",
        )

    def password_changed(self, to: str) -> Letter:
        """Tell somebody that their password was changed."""
        return self._letter(
            "password_changed",
            to,
            "Your password was changed",
            f"the password of your account with {self._place} was changed, and you were signed out everywhere else.",
            f"If it was not you, choose a new one now: {self._public_url}/forgot",
        )

    def password_reset(self, to: str) -> Letter:
        """Tell somebody that their password was changed by a link, and what ended by it."""
        return self._letter(
            "password_reset",
            to,
            "Your password was changed",
            f"the password of your account with {self._place} was changed by a link, and you were signed out everywhere. "
            "API tokens have ended.",
            "If your address had not been confirmed before, passkeys, authenticator and linked accounts are gone too: "
            "somebody else may have set them up.",
            f"If it was not you, choose a new one now: {self._public_url}/forgot",
        )

    def second_factor_changed(self, to: str, *, is_on: bool) -> Letter:
        """Tell somebody that codes of an authenticator are asked for, or no longer."""
        now = "is now needed to sign in" if is_on else "is no longer needed to sign in"
        return self._letter(
            "second_factor_changed",
            to,
            f"Two-factor sign-in is {'on' if is_on else 'off'}",
            f"a code from your authenticator {now} to your account with {self._place}.",
            self._if_it_was_not_you,
        )

    def passkey_added(self, to: str) -> Letter:
        """Tell somebody that there is a new passkey for their account."""
        return self._letter(
            "passkey_added",
            to,
            "A passkey was added",
            f"a new passkey opens your account with {self._place}.",
            self._if_it_was_not_you,
        )

    @property
    def _if_it_was_not_you(self) -> str:
        return f"If it was not you, look at once who is signed in, and change your password: {self._public_url}/settings/security"

    def _letter(self, kind: str, to: str, subject: str, *paragraphs: str) -> Letter:
        text = "\n\n".join(["Hello,", *paragraphs, f"-- \n{self._place}\n{self._public_url}"])
        return Letter(kind, to, f"{subject} ({_PRODUCT})", f"{text}\n")
