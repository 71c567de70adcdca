"""The product as people see it: real Chromium against a real instance."""
