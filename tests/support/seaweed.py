"""An object store that speaks S3: SeaweedFS, with two identities, one of which may only read."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from groupspaces.ops.torture.ports import free_port
from tests.support.process import Process, clean_environment
from tests.support.wait import block_until

BUCKET = "backups"
WRITER = ("writer-key", "a secret of the writer")
READER = ("reader-key", "a secret of the reader")


class Seaweed(Process):
    """`start` returns when the bucket is there."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        super().__init__("seaweed", folder, port=port)
        self._ports = {name: free_port() for name in ("master", "volume", "filer")}
        self._grpc = {name: free_port() for name in ("master", "volume", "filer", "s3")}

    def start(self) -> Self:
        """Start it on the same ports and folder as before."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [_identity(WRITER, "Admin"), _identity(READER, "Read")]}))
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        grpc = [f"-{name}.port.grpc={port}" for name, port in self._grpc.items()]
        self._spawn(
            [
                str(Path(sys.executable).with_name("weed")),
                "server",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-dir={data}",
                "-filer",
                "-s3",
                f"-s3.port={self.port}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.config={config}",
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=16",
                *ports,
                *grpc,
            ],
            clean_environment(),
        )
        block_until(self._is_ready, 60, "the object store is ready")
        return self

    def settings(self, identity: tuple[str, str] = WRITER, *, url: str = "") -> dict[str, Any]:
        """Return settings of an instance that copies its backups here, or by way of `url`."""
        return {
            "backup.s3_bucket": BUCKET,
            "backup.s3_endpoint": url or self.url,
            "backup.s3_access_key": identity[0],
            "backup.s3_secret_key": identity[1],
        }

    def names(self) -> list[str]:
        """Return the names of the objects."""
        import obstore

        return sorted(
            str(one["path"]).rpartition("/")[2] for page in obstore.list(self._store()) for one in page
        )

    def _store(self) -> Any:
        from obstore.store import S3Store

        return S3Store(
            BUCKET,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=WRITER[0],
            secret_access_key=WRITER[1],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def _is_ready(self) -> bool:
        """Make the bucket, by the filer, whose folder it is; tell whether both answer."""
        bucket = f"http://127.0.0.1:{self._ports['filer']}/buckets/{BUCKET}/"
        try:
            urllib.request.urlopen(f"{self.url}/healthz", timeout=2).close()
            with suppress(urllib.error.HTTPError):  # it is there
                urllib.request.urlopen(urllib.request.Request(bucket, method="POST"), timeout=5).close()
            urllib.request.urlopen(bucket, timeout=5).close()
        except (OSError, urllib.error.URLError):
            return False
        return True


def _identity(credentials: tuple[str, str], *actions: str) -> dict[str, Any]:
    key, secret = credentials
    return {
        "name": key,
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": list(actions) if "Admin" in actions else [f"{action}:{BUCKET}" for action in actions],
    }
