"""The commands of `carbonedge`: one module a command."""
