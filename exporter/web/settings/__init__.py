"""What --web-config says: TLS, users, headers."""
