"""The configuration file: what else is said by options, as TOML."""
