"""Backups: making, keeping, proving and restoring archives of everything a deployment holds."""
