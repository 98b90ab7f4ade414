"""Shared by all commands: arguments, help, the config, error messages."""
