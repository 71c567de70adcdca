"""The table of operations as tests go through it, and a body for each that has one. Who makes the calls is in `cast.py`.

Nothing is listed twice: operations come from the table the server is made of. One that is added without a sample body here fails
the tests.
"""

from __future__ import annotations

from typing import Any

from groupspaces.app import operations
from groupspaces.web.operations import Operation
from tests.features.world import PASSWORD

OURS = tuple(
    operation
    for operation in operations()
    if operation.handler.__module__.startswith("groupspaces.features.")
)
OPERATORS = tuple(operation for operation in operations() if operation.access.name == "operator")

# The least that is accepted by each operation with a body.
BODIES: dict[str, Any] = {
    "POST /api/auth/sign-up": {"email": "", "password": PASSWORD, "name": "New"},
    "POST /api/auth/sign-in": {"email": "nobody@example.org", "password": PASSWORD},
    "POST /api/auth/confirm": {"password": "not theirs"},
    "PUT /api/auth/password": {"current": "not theirs", "new": PASSWORD},
    "POST /api/auth/password/forgot": {"email": "nobody@example.org"},
    "POST /api/auth/password/reset": {"token": "made up", "password": PASSWORD},
    "PUT /api/auth/email": {"email": "person1@example.org"},
    "POST /api/auth/email/verify": {"token": "made up"},
    "PUT /api/auth/totp": {"code": "000000"},
    "POST /api/auth/passkeys": {"ceremony": "made up", "credential": {}, "name": "Key"},
    "PATCH /api/auth/passkeys/{passkey_id}": {"name": "Key"},
    "POST /api/auth/passkeys/sign-in": {"ceremony": "made up", "credential": {}},
    "POST /api/tokens": {"name": "Robot", "scopes": ["read"]},
    "PATCH /api/users/me": {"bio": "x"},
    "DELETE /api/users/me": {"password": "not theirs"},
    "POST /api/spaces": {"name": "Another"},
    "PATCH /api/spaces/{space_id}": {"description": "x"},
    "PATCH /api/spaces/{space_id}/members/{user_id}": {"role": "admin"},
    "POST /api/spaces/{space_id}/invites": {},
    "POST /api/spaces/{space_id}/messages": {"content": "hi"},
    "PATCH /api/messages/{message_id}": {"content": "hi"},
    "PUT /api/spaces/{space_id}/read": {"message_id": 2**62},
    "PATCH /api/ops/jobs/{job_id}": {"paused": False},
    "POST /api/ops/backups/{backup_id}/restore": {"confirm": "another one"},
    "POST /api/ops/backups/{backup_id}/restore-space": {"space_id": 1},
    "PUT /api/ops/maintenance": {"message": "Back soon."},
    "POST /api/ops/users": {"email": "", "name": "Made"},
    "PATCH /api/ops/users/{user_id}": {"email_verified": True},
    "POST /api/ops/users/{user_id}/reset-link": {},
    "POST /api/ops/users/{user_id}/delete": {"confirm": "nobody"},
    "POST /api/ops/users/{user_id}/tokens": {"name": "Robot", "scopes": ["read"]},
    "PATCH /api/ops/replication": {"jitter": 0.2},
    "POST /api/ops/replication/preview": {"jitter": 0.3},
    "POST /api/ops/replication/forget-old": {},
    "POST /api/ops/replication/verify": {},
}


def key_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"
