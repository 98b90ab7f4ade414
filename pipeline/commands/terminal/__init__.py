"""What the commands share: arguments, help, the config, error messages."""
