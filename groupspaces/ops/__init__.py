"""What an operator needs: health, logs, metrics and the calls of the operations pages."""

from __future__ import annotations
