"""The calls of `/api/ops/secret`: how far the replacement of `auth.secret` has come, and having it go on.

Shows the beginnings of fingerprints, by which instances compare their secrets; never a secret.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from groupspaces.db import common_secret
from groupspaces.deployment_secrets import fingerprints
from groupspaces.features.accounts import resealing
from groupspaces.features.accounts.resealing import Sealed
from groupspaces.keys import KeyRing
from groupspaces.ops.audit_seals import AuditSeals
from groupspaces.web.context import Context
from groupspaces.web.operations import OPERATOR, operation

TAG = "operations"

_FINGERPRINT_CHARS = 8


class SecretStatus(msgspec.Struct, frozen=True):
    """How this instance's secrets are used: `fingerprints` begin with the newest, `deployment` is the one all have to know.

    `audit` says which secret has signed the newest seal of the audit record (null: there is none). `may_drop_previous` is true when
    nothing stored needs a previous secret any more; who was not here since the replacement then signs in again, and nobody is left
    who could after `idle_days`.
    """

    fingerprints: list[str]
    deployment: str | None
    totp: Sealed
    audit: Literal["newest", "previous", "unknown"] | None
    may_drop_previous: bool
    idle_days: int


@operation(
    "GET",
    "/api/ops/secret",
    access=OPERATOR,
    summary="How far the replacement of the deployment's secret has come",
    tag=TAG,
    returns=SecretStatus,
)
async def get_secret(ctx: Context) -> SecretStatus:
    """Answer from the local file."""
    auth = ctx.services.settings.auth
    ours = fingerprints(ctx.services.settings)
    row = await ctx.read_one(common_secret.SQL)
    deployment = None if row is None else str(row[0])
    totp = await resealing.count(ctx.read, ctx.part(KeyRing))
    audit = await ctx.part(AuditSeals).signed_with()
    return SecretStatus(
        fingerprints=[fingerprint[:_FINGERPRINT_CHARS] for fingerprint in ours],
        deployment=None if deployment is None else deployment[:_FINGERPRINT_CHARS],
        totp=totp,
        audit=audit,
        may_drop_previous=not totp.previous and audit in ("newest", None) and deployment in (ours[0], None),
        idle_days=min(auth.idle_days, auth.session_days),
    )


@operation(
    "POST",
    "/api/ops/secret/reseal",
    access=OPERATOR,
    summary="Encrypt what is stored with the newest secret",
    tag=TAG,
    returns=Sealed,
)
async def post_reseal(ctx: Context) -> Sealed:
    """Do what the job does every hour, and answer with what was found before."""
    return await resealing.reseal(ctx.read, ctx.write, ctx.part(KeyRing))


OPERATIONS = (get_secret, post_reseal)
